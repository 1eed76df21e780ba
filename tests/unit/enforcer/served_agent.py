# SPDX-License-Identifier: Apache-2.0
"""A whole agent on real sockets and real maps; only programs and cgroups are stood in for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from enforcer import agent as agent_module
from enforcer import gpu, libbpf, maps, paths
from enforcer.agent import Agent
from enforcer.canary_child import CanaryChild
from enforcer.canary_state import ATTEMPTS, CanaryReport
from enforcer.client import EnforcerClient
from enforcer.maps import MAPS, Maps
from enforcer.settings import AgentSettings
from tests.unit.enforcer import fake_pins
from tests.unit.enforcer.fake_pins import owned
from tests.unit.enforcer.tables import MemoryTasks


class ServedAgent:
    """Maps that the kernel made, unpinned; `tasks` says which processes are in workloads."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for base, place in ((paths.RUN, folder / "run"), (paths.STATE, folder / "state")):
            for name, path in vars(paths).copy().items():
                if isinstance(path, Path) and path.is_relative_to(base):
                    monkeypatch.setattr(paths, name, place / path.relative_to(base))
        monkeypatch.setattr(gpu, "resolve_gpus", lambda *_: frozenset())
        self.pins = fake_pins.install(folder, monkeypatch)
        self.pins.load(1)
        self.maps = Maps({name: _kernel_map(name) for name in MAPS})
        self.maps.control.put(0, owned(1))
        self.tasks = MemoryTasks()
        monkeypatch.setattr(maps.Maps, "open", lambda: self.maps)
        monkeypatch.setattr(agent_module, "Tasks", lambda _: self.tasks)
        self.canary = CanaryReport(dict.fromkeys(ATTEMPTS, "denied"))
        monkeypatch.setattr(CanaryChild, "run", lambda _: self._run_canary())
        self.agent: Agent

    def serve(
        self, work: Callable[[ServedAgent], Awaitable[None]], *, canary_seconds: float = 60
    ) -> None:
        """Start an agent, do `work` beside it, stop it as a signal would.

        canary_seconds: also less than an operator may set.
        """
        settings = AgentSettings(node="node-1", refresh_seconds=0.5)
        settings = settings.model_copy(update={"canary_seconds": canary_seconds})

        async def whole() -> None:
            paths.CALLS_SOCKET.unlink(missing_ok=True)
            self.agent = Agent(settings)
            serving = asyncio.create_task(self.agent.serve())
            while not paths.CALLS_SOCKET.exists():
                await asyncio.wait([serving], timeout=0.01)
                assert not serving.done(), serving.exception()
            try:
                await asyncio.wait_for(work(self), 20)
            finally:
                self.agent.stopping.set()
                await serving

        asyncio.run(whole())

    async def _run_canary(self) -> CanaryReport:
        return self.canary

    async def ask(self, socket: Path, operation: str, **fields: Any) -> dict[str, Any]:
        """One request of a blocking client, in a thread."""
        return await asyncio.to_thread(_request, socket, operation, fields)

    async def admin(self, operation: str, **fields: Any) -> dict[str, Any]:
        return await self.ask(paths.ADMIN_SOCKET, operation, **fields)

    def close(self) -> None:
        self.maps.close()


def _request(socket: Path, operation: str, fields: dict[str, Any]) -> dict[str, Any]:
    with EnforcerClient(socket, timeout=10) as client:
        return client.request(operation, **fields)


def _kernel_map(name: str) -> int:
    spec = MAPS[name]
    sizes = maps.size_of(spec.key), maps.size_of(spec.value)
    # Small, to be made quickly; a ring has to have its size.
    room = spec.max_entries if spec.kind == libbpf.MAP_RINGBUF else min(spec.max_entries, 256)
    return libbpf.create_map(spec.kind, name, *sizes, room, spec.flags)


ME = os.getpid()
