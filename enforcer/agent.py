# SPDX-License-Identifier: Apache-2.0
"""The long-lived agent: reads events, serves the sockets, keeps policies in step.

It never decides: killed or stopped it leaves enforcement untouched. It imports neither bcc
nor LLVM. Run by `lictor up`, or as a service: python -m enforcer.agent.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from loguru import logger

from controlplane.contract import supervision
from controlplane.contract.daemon import EXIT_FAILED, begin
from controlplane.contract.wire import RequestError
from enforcer import abi, cgroups, paths, pins
from enforcer.abi import EventKind
from enforcer.admin import AdminOperations
from enforcer.callbook import CallBook
from enforcer.calls import LARGEST_ID, ToolCalls, parse_begin
from enforcer.canary_child import CanaryChild
from enforcer.canary_watch import CanaryWatch
from enforcer.condition import node_condition
from enforcer.decode import Decoder
from enforcer.endings import Endings
from enforcer.enforcement import Enforcement
from enforcer.exempting import Exempting
from enforcer.exemptions import Exemptions
from enforcer.maps import Maps
from enforcer.names import EventNames, boot_identity
from enforcer.peers import Peer, start_time, threads_of
from enforcer.reader import EventReader
from enforcer.runs import Runs
from enforcer.server import Connection, SocketServer
from enforcer.settings import AgentSettings
from enforcer.spool import SpoolWriter
from enforcer.store import PolicyStore
from enforcer.tasks import Tasks

EXIT_NOT_LOADED = 3
DRAIN_SECONDS = 5.0


class Agent:
    """Everything that the agent holds open."""

    def __init__(self, settings: AgentSettings) -> None:
        self.settings = settings
        self.maps = Maps.open()
        self.store = PolicyStore()
        self.tasks = Tasks(self.maps)
        self.enforcement = Enforcement(self.maps, self.store, self.tasks)
        self.book = CallBook(paths.CALLS_DATABASE)
        self.names = EventNames(self.store, self.book)
        self.calls = ToolCalls(self.maps, self.tasks, self.book)
        self.runs = Runs(self.enforcement, self.store)
        self.spool = SpoolWriter(paths.SPOOL, settings.spool_bytes)
        boot, boot_time = boot_identity()
        self.decoder = Decoder(settings.node, boot, boot_time, self.names)
        self.endings = Endings()
        self.reader = EventReader(
            self.maps, self.decoder, self.spool, self._on_workload, self.endings.note
        )
        self.canary = CanaryWatch(settings.canary_seconds, CanaryChild().run, self.condition)
        self.exemptions = Exemptions(self.maps)
        self.exempting = Exempting(self)
        self.stopping = asyncio.Event()
        self._unseen_workload = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Run until a signal asks to stop; what is in the rings by then is read."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        for ring in (self.reader.denials, self.reader.activity):
            loop.add_reader(ring.descriptor, self.drain_rings)
        admin = AdminOperations(self)
        servers = [
            SocketServer(paths.ADMIN_SOCKET, 0o600, admin.table()),
            SocketServer(
                paths.CALLS_SOCKET,
                0o666,
                {"begin": self._begin, "end": self._end, "outside": self._outside},
                group_of=self._workload_of,
            ),
        ]
        self._attempt(self.enforcement.refresh)
        # What has ended while no agent ran.
        self._attempt(self.exempting.sweep)
        for server in servers:
            await server.start()
        self._spawn("refresh", self._refresh_forever())
        waiting = self.drain_rings()
        logger.info("agent ready: node {}, {} events waiting", self.settings.node, waiting)
        supervision.notify(supervision.READY)
        supervision.settle()
        self._spawn("say alive", supervision.say_alive())
        self._spawn("canary", self.canary.run())
        await self.stopping.wait()
        supervision.notify(supervision.STOPPING)
        for server in servers:
            await server.stop()
        for ring in (self.reader.denials, self.reader.activity):
            loop.remove_reader(ring.descriptor)
        # A workload that floods must not keep us: the rings keep what is left for the next agent.
        deadline = time.monotonic() + DRAIN_SECONDS
        while self.reader.drain() and time.monotonic() < deadline:
            pass
        self.spool.close()
        self.book.close()

    def condition(self) -> dict[str, Any]:
        """Whether this node enforces, see condition.py."""
        return node_condition(pins.owner(self.maps))

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("{} ended: {!r}", task.get_name(), task.exception())
            self.stopping.set()

    def drain_rings(self) -> int:
        """Read a batch of each ring, and see to new workloads; returns how many events it was."""
        count = self.reader.drain()
        if self._unseen_workload:
            self._unseen_workload = False
            self._attempt(self.enforcement.refresh)
        return count

    def _attempt(self, work: Callable[[], object]) -> None:
        """A full table, a cgroup that vanishes or a damaged file must not end the agent."""
        try:
            work()
        except (OSError, ValueError) as error:
            logger.error("{}: {}; tried again soon", getattr(work, "__name__", work), error)

    def _on_workload(self, event: abi.Event) -> None:
        if event.kind == EventKind.WORKLOAD:
            path = cgroups.find(event.workload)
            if path is not None:
                self.names.learn_workload(event.workload, path)
            self._unseen_workload = True

    async def _refresh_forever(self) -> None:
        while True:
            await asyncio.sleep(self.settings.refresh_seconds)
            for work in (
                self.drain_rings,
                self.endings.round,
                self.enforcement.refresh,
                self.enforcement.refresh_devices,
                self.runs.sweep,
                self.calls.end_abandoned,
                self.calls.forget_dead_threads,
                self.enforcement.forget_old_workloads,
                self.exempting.sweep,
                self.enforcement.forget_old_roots,
                self.enforcement.refresh_clock,
            ):
                self._attempt(work)

    def _workload_of(self, peer: Peer) -> int:
        """Connections are limited by workload, so that one cannot shut the others out."""
        tagged = self.tasks.resolve(peer.pid)
        return tagged[0].workload if tagged else 0

    async def _begin(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        call = self.calls.begin(connection.peer, parse_begin(message))
        if message.get("hold") is True:
            # Not when we stop: the call goes on, and the next agent sees to its end.
            connection.closing.append(lambda: self._let_go(connection, call.number))
        return {"call": call.number, "episode": call.episode}

    async def _end(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        number = message.get("call")
        if not isinstance(number, int):
            raise RequestError("invalid", f"end: call: {number!r} is not a number")
        call = self.calls.end(connection.peer, number)
        return {"call": call.number}

    async def _outside(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        """For the control plane, which may be another user: is its peer in no workload?"""
        if self._workload_of(connection.peer):
            raise RequestError("not_allowed", "outside: a process of a workload may not ask")
        pid = message.get("pid")
        if not isinstance(pid, int) or isinstance(pid, bool) or not 0 < pid <= LARGEST_ID:
            raise RequestError("invalid", f"outside: pid: {pid!r} is not a process id")
        since = message.get("since")
        if not isinstance(since, (int, float)) or isinstance(since, bool):
            raise RequestError("invalid", f"outside: since: {since!r} is not a number")
        return {"outside": self.is_outside(pid, since)}

    def is_outside(self, pid: int, since: float) -> bool:
        """Whether who connected as `pid` is in no workload. since: of the connection.

        False where nobody knows: a process that is gone by now may have been anywhere.
        """
        started = start_time(pid)
        # One that started after the connection is not who made it: the pid was used again.
        if started is None or int(started) > since * os.sysconf("SC_CLK_TCK"):
            return False
        threads = threads_of(pid)
        # Threads first: they may end while they are asked for.
        tagged = any(self.tasks.resolve(tid) for tid in threads)
        return bool(threads) and not tagged and bool(threads_of(pid))

    def _let_go(self, connection: Connection, number: int) -> None:
        if self.stopping.is_set():
            return
        call = self.book.get(number)
        if call is None or call.ended is not None:
            return
        try:
            self.calls.end(connection.peer, number, "disconnected")
        except RequestError as error:
            logger.warning("call {} could not be ended: {}", call.id, error)


def main() -> int:
    """Entry point. Exit: 0 stopped, 1 failed, 2 wrong setting, 3 not loaded, 4 another runs."""
    settings = begin("agent", AgentSettings, _place)
    # The kernel shall sooner end anything else when memory runs out.
    try:
        Path("/proc/self/oom_score_adj").write_text("-900", encoding="ascii")
    except OSError as error:
        logger.warning("/proc/self/oom_score_adj: {}; the agent goes on without", error)
    try:
        asyncio.run(_run(settings))
    except FileNotFoundError as error:
        logger.error("{}", error)
        return EXIT_NOT_LOADED
    except (OSError, ValueError) as error:
        logger.error("{}", error)
        return EXIT_FAILED
    return 0


def _place(_settings: AgentSettings) -> Path:
    paths.RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    os.umask(0o077)
    return paths.AGENT_PID


async def _run(settings: AgentSettings) -> None:
    await Agent(settings).serve()


if __name__ == "__main__":
    sys.exit(main())
