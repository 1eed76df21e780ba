# SPDX-License-Identifier: Apache-2.0
"""A canary in a child: its answer comes back, the loop turns meanwhile, nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enforcer import canary_child
from enforcer.canary_child import CanaryChild
from enforcer.canary_state import ATTEMPTS, CanaryReport
from enforcer.maps import Maps
from tests.unit.enforcer.tables import MemoryMaps

DENIED = dict.fromkeys(ATTEMPTS, "denied")


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], dict[str, str]]], None]:
    """canary(work): what the child does instead of trying, and what its attempts met."""
    monkeypatch.setattr(Maps, "open", MemoryMaps)

    def set_work(work: Callable[[], dict[str, str]]) -> None:
        monkeypatch.setattr(canary_child, "run_canary", lambda _: CanaryReport(work()))

    return set_work


def run(limit: float = 20) -> CanaryReport:
    return asyncio.run(CanaryChild(limit).run())


def children() -> set[str]:
    """This process's children, zombies among them; some may be other tests'."""
    tasks = Path("/proc/self/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text().split()}


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def runs(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (names of descriptors)


def test_what_the_attempts_met_comes_back(canary: Any) -> None:
    canary(lambda: DENIED)
    open_before, before = descriptors(), children()
    assert run() == CanaryReport(DENIED)
    assert descriptors() == open_before
    assert children() - before == set()


@pytest.mark.parametrize("error", [OSError(28, "No room", "map scopes"), ValueError("damaged")])
def test_what_hinders_it_comes_back(error: Exception, canary: Any) -> None:
    def fail() -> dict[str, str]:
        raise error

    canary(fail)
    assert run() == CanaryReport(error=str(error))


def test_a_child_that_dies_is_an_error(canary: Any) -> None:
    canary(lambda: os.kill(os.getpid(), signal.SIGKILL))
    before = children()
    assert run().error.endswith("ended without an answer")
    assert children() - before == set()


def test_a_child_that_faults_is_an_error_and_never_returns(canary: Any) -> None:
    canary(lambda: DENIED["no such attempt"])
    assert run().error.endswith("ended without an answer")


def test_a_child_that_hangs_is_ended_with_its_own_child(canary: Any, tmp_path: Path) -> None:
    def hang() -> dict[str, str]:
        grandchild = os.fork()
        if grandchild:
            (tmp_path / "pid").write_text(str(grandchild))
        time.sleep(60)
        return DENIED

    canary(hang)
    assert run(limit=1).error == "it took longer than 1 s"
    grandchild = int((tmp_path / "pid").read_text())
    assert eventually(lambda: not runs(grandchild))


def test_the_loop_turns_meanwhile(canary: Any) -> None:
    def slow() -> dict[str, str]:
        time.sleep(0.4)
        return DENIED

    canary(slow)

    async def work() -> int:
        running = asyncio.create_task(CanaryChild().run())
        turns = 0
        while not running.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert (await running).enforcing
        return turns

    assert asyncio.run(work()) > 10


def test_the_child_holds_nothing_of_the_agents(canary: Any) -> None:
    ours, theirs = socket.socketpair()

    def look() -> dict[str, str]:
        open_ones = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208
        # Its answer's pipe and the folder that is being read.
        more = [number for number in open_ones if number > 2]
        handlers = {signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        return {"more": str(len(more)), "handlers": str(handlers == {signal.SIG_DFL})}

    canary(look)

    async def work() -> CanaryReport:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
        return await CanaryChild().run()

    assert asyncio.run(work()).results == {"more": "2", "handlers": "True"}
    ours.close()
    theirs.close()


def test_an_agent_that_stops_takes_the_child_along(canary: Any) -> None:
    def hang() -> dict[str, str]:
        time.sleep(60)
        return DENIED

    canary(hang)
    before = children()

    async def work() -> None:
        running = asyncio.create_task(CanaryChild().run())
        await asyncio.sleep(0.2)
        started = children() - before
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        [pid] = started
        assert eventually(lambda: not runs(int(pid)))

    asyncio.run(work())


def test_a_fork_that_fails_is_an_error(canary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    before = descriptors()
    assert run().error == "[Errno 11] Resource temporarily unavailable"
    assert descriptors() == before
