# SPDX-License-Identifier: Apache-2.0
"""`make install` lays Lictor out as plain files under one folder."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.kernel.harness.image import INSTALLER, REPOSITORY


def install(destination: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "DESTDIR": str(destination)}
    return subprocess.run(
        [INSTALLER, *words], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    done = install(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_command_calls_the_cli_in_isolated_mode(root: Path) -> None:
    launcher = root / "usr/local/bin/lictor"
    assert os.access(launcher, os.X_OK)
    lines = launcher.read_text().splitlines()
    assert lines[0] == "#!/opt/lictor/venv/bin/python -I"
    assert "from enforcer.cli.main import main" in lines


def test_code_is_copied_and_compiled(root: Path) -> None:
    source = (REPOSITORY / "enforcer/__init__.py").read_bytes()
    assert (root / "opt/lictor/enforcer/__init__.py").read_bytes() == source
    compiled = list((root / "opt/lictor/enforcer/__pycache__").glob("__init__.*.pyc"))
    assert len(compiled) == 1
    # Tracebacks must name the installed file, not where it was staged.
    assert str(root).encode() not in compiled[0].read_bytes()


def test_second_install_leaves_nothing_of_an_older_version(root: Path) -> None:
    left = root / "opt/lictor/enforcer/removed_since.py"
    left.touch()
    assert install(root).returncode == 0
    assert not left.exists()


def test_uninstall_takes_away_what_was_installed(tmp_path: Path) -> None:
    assert install(tmp_path).returncode == 0
    assert install(tmp_path, "uninstall").returncode == 0
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def test_unknown_part_is_refused(tmp_path: Path) -> None:
    done = install(tmp_path, "everything")
    assert done.returncode == 2
    assert "everything: not one of: venv, all, uninstall" in done.stderr
