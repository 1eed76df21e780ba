# SPDX-License-Identifier: Apache-2.0
"""The VM's third disk carries the checkout as it is now, and a copy of the shared folder."""

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.kernel.harness import job


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "checkout"
    (folder / "kept").mkdir(parents=True)
    for name in ("tracked", "gone", "kept/new\nline", "ignored"):
        (folder / name).write_text(name)
    (folder / ".gitignore").write_text("ignored\n")
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o755)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "tracked", "gone"], cwd=folder, check=True)
    (folder / "gone").unlink()
    monkeypatch.setattr(job, "REPOSITORY", folder)
    return folder


def write(tmp_path: Path, command: str = "true", share: Path | None = None) -> tarfile.TarFile:
    (tmp_path / "scratch").mkdir()
    job.write(tmp_path / "disk", tmp_path / "scratch", command, share, results=False)
    return tarfile.open(tmp_path / "disk")


def test_checkout_is_what_git_knows_and_does_not_ignore(tmp_path: Path) -> None:
    with write(tmp_path) as archive:
        names = {name for name in archive.getnames() if name.startswith("src/")}
        assert archive.getmember("src/lictor/run").mode == 0o755
    expected = {"tracked", "kept/new\nline", ".gitignore", "run"}
    assert names == {f"src/lictor/{name}" for name in expected}


@pytest.mark.parametrize("command", ["echo 'it''s' \"$HOME\"", "a\nb", "\udcff \\ é"])
def test_command_arrives_unchanged(tmp_path: Path, command: str) -> None:
    with write(tmp_path, command) as archive:
        orders = archive.extractfile("job/orders.json")
        assert orders is not None
        assert json.load(orders)["command"] == command


def test_shared_folder_keeps_modes_and_links(tmp_path: Path) -> None:
    share = tmp_path / "given"
    (share / "below").mkdir(parents=True)
    (share / "below/tool").write_text("x")
    (share / "below/tool").chmod(0o4711)
    (share / "link").symlink_to("below/tool")
    with write(tmp_path, share=share) as archive:
        assert archive.getmember("share/below/tool").mode == 0o4711
        assert archive.getmember("share/link").linkname == "below/tool"


def test_missing_shared_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"SHARE: .*/nothing is not a directory"):
        write(tmp_path, share=tmp_path / "nothing")


def test_disk_is_a_whole_number_of_sectors(tmp_path: Path) -> None:
    write(tmp_path).close()
    assert (tmp_path / "disk").stat().st_size % 512 == 0
