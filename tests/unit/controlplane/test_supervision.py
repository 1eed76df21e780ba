# SPDX-License-Identifier: Apache-2.0
"""What systemd hears of a daemon."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.contract import supervision

HOLDER = """\
import sys
from pathlib import Path
from controlplane.contract import supervision
supervision.run_alone(Path(sys.argv[1]))
print("alone", flush=True)
sys.stdin.read()
"""


def test_only_one_runs_and_the_file_has_its_pid(tmp_path: Path) -> None:
    file = tmp_path / "daemon.pid"
    file.write_text("1234567 of an earlier one\n")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"alone\n"
        assert file.read_text() == f"{first.pid}\n"
        with pytest.raises(BlockingIOError):
            supervision.run_alone(file)
        first.kill()
    subprocess.run(
        [sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.DEVNULL, check=True, timeout=60
    )


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_a_state_is_heard(manager: socket.socket) -> None:
    supervision.notify(supervision.READY)
    assert manager.recv(100) == b"READY=1"


def test_a_text_is_told_in_one_line(manager: socket.socket) -> None:
    supervision.tell("NOT ENFORCING: one\nREADY=1")
    assert manager.recv(100) == b"STATUS=NOT ENFORCING: one READY=1"


def test_an_abstract_socket_is_meant_by_an_at_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"lictor-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        supervision.notify(supervision.STOPPING)
        assert listening.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_nobody_listens_and_nothing_fails(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    supervision.notify(supervision.READY)


@pytest.mark.parametrize(
    ("variables", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_signs_of_life_come_twice_as_often_as_wanted(
    variables: dict[str, str], interval: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert supervision.alive_interval() == interval


def test_it_says_that_it_is_alive_again_and_again(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)

    async def some_time() -> None:
        task = asyncio.create_task(supervision.say_alive())
        await asyncio.sleep(0.1)
        task.cancel()

    asyncio.run(some_time())
    assert [manager.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3


SETTLED = """\
import gc
from controlplane.contract import supervision
held = [[] for _ in range(1000)]
supervision.settle()
print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000)
class Node: pass
for _ in range(2 * supervision.COLLECT_AFTER):
    node = Node()
    node.itself = node
print(sum(isinstance(each, Node) for each in gc.get_objects()) <= supervision.COLLECT_AFTER)
"""


def test_a_settled_daemon_looks_for_garbage_only_in_what_is_new() -> None:
    done = subprocess.run([sys.executable, "-c", SETTLED], stdout=subprocess.PIPE, check=True)
    assert done.stdout.split() == [b"True", b"True", b"True"]
