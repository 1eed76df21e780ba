# SPDX-License-Identifier: Apache-2.0
"""A held command starts when it is released and never otherwise, and ends as a shell would say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RELEASE = """\
import sys
from enforcer.cli.child import HeldChild
sys.exit(HeldChild(sys.argv[1:]).release())
"""


def ended(script: str, *command: str) -> subprocess.CompletedProcess[str]:
    """How a process that runs `script` ends; a signal would show as a negative status."""
    return subprocess.run(
        [sys.executable, "-c", script, *command],
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip


@pytest.mark.parametrize("status", [0, 1, 7, 125, 255])
def test_the_commands_status_is_given_back(status: int) -> None:
    assert ended(RELEASE, "sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV", "USR1", "INT", "PIPE", "XFSZ"])
def test_a_command_ended_by_a_signal_is_128_and_its_number(name: str) -> None:
    """PIPE and XFSZ too: Python ignores them, and its commands must not."""
    process = ended(RELEASE, "sh", "-c", f"kill -{name} $$; echo lived on")
    assert process.returncode == 128 + getattr(signal, f"SIG{name}")
    assert process.stdout == ""


def test_a_command_has_its_arguments_and_output_as_they_are() -> None:
    process = ended(RELEASE, "printf", "%s|", "a b", "", "--", "käse\n", "$HOME")
    assert process.stdout == "a b||--|käse\n|$HOME|"


@pytest.mark.parametrize(
    ("make", "status", "text"),
    [
        ("absent", 127, "not found"),
        ("data", 126, "Permission denied"),
        ("folder", 126, "Permission denied"),
        ("garbage", 126, "Exec format error"),
        ("interpreter", 127, "not found"),
    ],
)
def test_a_command_that_cannot_run_says_why(
    make: str, status: int, text: str, tmp_path: Path
) -> None:
    path = tmp_path / make
    if make == "folder":
        path.mkdir()
    elif make != "absent":
        path.write_bytes({"data": b"", "garbage": b"\x7fELFno"}.get(make, b"#!/no/such/thing\n"))
        path.chmod(0o644 if make == "data" else 0o755)
    process = ended(RELEASE, str(path))
    assert process.returncode == status
    assert process.stderr == f"lictor: {path}: {text}\n"


def test_a_name_without_a_slash_is_looked_for_in_the_path() -> None:
    process = ended(RELEASE, "no-such-command-here")
    assert (process.returncode, process.stderr) == (
        127,
        "lictor: no-such-command-here: not found\n",
    )


def test_a_held_command_has_not_started(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    script = f"""\
import os, pathlib, sys, time
from enforcer.cli.child import HeldChild
child = HeldChild(sys.argv[1:])
time.sleep(0.3)
print(child.started(), pathlib.Path({str(mark)!r}).exists(), flush=True)
child.release()
print(pathlib.Path({str(mark)!r}).exists())
"""
    assert ended(script, "touch", str(mark)).stdout == "True False\nTrue\n"


def test_an_abandoned_command_never_starts(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    script = """\
import sys
from enforcer.cli.child import HeldChild
child = HeldChild(sys.argv[1:])
child.abandon()
"""
    process = ended(script, "touch", str(mark))
    assert (process.returncode, process.stderr) == (0, "")
    assert not mark.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_command_whose_starter_dies_never_starts(number: int, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    script = """\
import sys, time
from enforcer.cli.child import HeldChild
child = HeldChild(sys.argv[1:])
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, "touch", str(mark)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as starter:  # fmt: skip
        assert starter.stdout is not None
        child = int(starter.stdout.readline())
        starter.send_signal(number)
    deadline = time.monotonic() + 10
    while _lives(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _lives(child)
    assert not mark.exists()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("fault", ["raise OSError(13, 'Permission denied')", "1 / 0"])
def test_a_command_whose_preparation_fails_never_starts(fault: str, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    script = f"""\
import sys
from enforcer.cli.child import HeldChild
def prepare():
    {fault}
child = HeldChild(sys.argv[1:], prepare)
print(child.started())
child.abandon()
"""
    process = ended(script, "touch", str(mark))
    assert process.stdout == "False\n"
    assert process.returncode == 0
    assert "Traceback" not in process.stderr
    assert not mark.exists()


def test_preparation_is_done_in_the_child() -> None:
    script = """\
import os, sys
from enforcer.cli.child import HeldChild
child = HeldChild(sys.argv[1:], lambda: os.environ.update(WHO=str(os.getpid())))
print(child.pid, "WHO" in os.environ, flush=True)
child.release()
"""
    first, second = ended(script, "sh", "-c", "echo $WHO").stdout.splitlines()
    assert first.split() == [second, "False"]


@pytest.mark.parametrize("name", ["TERM", "HUP", "USR1", "USR2"])
def test_signals_go_on_to_the_command(name: str) -> None:
    command = f"trap 'echo got; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [sys.executable, "-c", RELEASE, "sh", "-c", command], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
        starter.send_signal(getattr(signal, f"SIG{name}"))
        assert starter.stdout.read() == "got\n"
        assert starter.wait(10) == 9


def test_the_terminals_interrupt_is_for_the_command_to_take() -> None:
    command = "trap 'echo got; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [sys.executable, "-c", RELEASE, "sh", "-c", command],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as starter:  # fmt: skip
        assert starter.stdout is not None
        starter.stdout.readline()
        os.killpg(starter.pid, signal.SIGINT)
        assert (starter.stdout.read(), starter.wait(10)) == ("got\n", 9)


def test_a_command_inherits_no_descriptors_of_ours() -> None:
    output = ended(RELEASE, "sh", "-c", "ls -l /proc/$$/fd").stdout
    assert "pipe" in output
    numbers = [line.split()[8] for line in output.splitlines()[1:] if "->" in line]
    assert set(numbers) <= {"0", "1", "2"}
