# SPDX-License-Identifier: Apache-2.0
"""The runner inside the VM: output byte for byte, the shell's status, no waiting for daemons."""

import os
import time
from pathlib import Path

import pytest

from tests.kernel.harness import guest


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "HOME", str(tmp_path))


def run(tmp_path: Path, command: str) -> tuple[int, bytes, bytes]:
    paths = {name: tmp_path / name for name in ("stdout", "stderr")}
    ports = {name: os.open(path, os.O_WRONLY | os.O_CREAT) for name, path in paths.items()}
    try:
        status = guest.run_command(command, ports, 1)
    finally:
        for port in ports.values():
            os.close(port)
    return status, paths["stdout"].read_bytes(), paths["stderr"].read_bytes()


def test_output_is_kept_apart_and_unchanged(tmp_path: Path) -> None:
    status, out, err = run(tmp_path, r"printf 'a\0\377\r\n'; printf 'b' >&2")
    assert (status, out, err) == (0, b"a\0\xff\r\n", b"b")


@pytest.mark.parametrize(
    ("command", "status"), [("exit 3", 3), ("kill -TERM $$", 143), ("nosuchcommand", 127)]
)
def test_status_is_what_a_shell_would_say(tmp_path: Path, command: str, status: int) -> None:
    assert run(tmp_path, command)[0] == status


def test_daemon_left_behind_does_not_hold_up_the_end(tmp_path: Path) -> None:
    began = time.monotonic()
    status, out, _ = run(tmp_path, "sleep 5 & echo started")
    assert (status, out) == (0, b"started\n")
    assert time.monotonic() - began < 4


def test_all_of_a_long_output_arrives(tmp_path: Path) -> None:
    _, out, _ = run(tmp_path, "head -c 3000000 /dev/zero")
    assert len(out) == 3_000_000
