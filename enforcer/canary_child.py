# SPDX-License-Identifier: Apache-2.0
"""A canary in a child of the agent, so that the agent's loop turns while it runs.

A fork: the agent has no threads, and a new interpreter would take a hundred times as long.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from typing import NoReturn

from enforcer.canary import run_canary
from enforcer.canary_state import LIMIT_SECONDS, CanaryReport
from enforcer.maps import Maps

PIPE_BYTES = 1 << 16
"""What a pipe holds: no answer comes near it, so the child never waits for us."""


class CanaryChild:
    """Starts one child at a time."""

    def __init__(self, limit: float = LIMIT_SECONDS) -> None:
        self._limit = limit
        self._unended: set[int] = set()

    async def run(self) -> CanaryReport:
        """One canary. What hinders it is the report's `error`."""
        for pid in list(self._unended):
            self._collect(pid)
        try:
            reading, writing = os.pipe()
        except OSError as error:
            return CanaryReport(error=str(error))
        try:
            pid = os.fork()
            if pid == 0:
                _child(writing)
            os.close(writing)
            writing = -1
            return await self._report_of(pid, reading)
        except OSError as error:
            return CanaryReport(error=str(error))
        finally:
            os.close(reading)
            if writing >= 0:
                os.close(writing)

    async def _report_of(self, pid: int, reading: int) -> CanaryReport:
        self._unended.add(pid)
        try:
            async with asyncio.timeout(self._limit):
                await _end_of(pid)
        except TimeoutError:
            return CanaryReport(error=f"it took longer than {self._limit:g} s")
        finally:
            _kill(pid)
            self._collect(pid)
        os.set_blocking(reading, False)
        with suppress(BlockingIOError, ValueError, TypeError):
            return CanaryReport(**json.loads(os.read(reading, PIPE_BYTES)))
        return CanaryReport(error=f"process {pid} ended without an answer")

    def _collect(self, pid: int) -> None:
        # Never wait: a killed process that hangs in the kernel is collected later.
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                return
        self._unended.discard(pid)


async def _end_of(pid: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    descriptor = os.pidfd_open(pid)
    try:
        loop.add_reader(descriptor, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _kill(pid: int) -> None:
    """End what is left of it and of its own child, which holds the lock too."""
    for end in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            end(pid, signal.SIGKILL)


def _child(writing: int) -> NoReturn:
    """Hold nothing of the agent's: no lock, no connection, no way to wake its loop."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.closerange(3, writing)
        os.closerange(writing + 1, os.sysconf("SC_OPEN_MAX"))
        os.write(writing, json.dumps(_answer()).encode())
    finally:
        os._exit(0)


def _answer() -> dict[str, object]:
    try:
        return {"results": run_canary(Maps.open()).results}
    except (OSError, ValueError) as error:
        return {"error": str(error)}
