# SPDX-License-Identifier: Apache-2.0
"""The real control plane in a thread, with nodes that answer as a test says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from controlplane.app import create_app
from controlplane.client import ApiClient
from controlplane.contract.records import (
    Acknowledgement,
    AckState,
    NodeReport,
    Role,
    ToolCall,
    WorkloadReport,
)
from controlplane.listening import parse_listen, start_site
from controlplane.services import SERVICES
from controlplane.settings import ControlPlaneSettings
from tests.api import samples
from tests.api.served import add_token, free_port

Result = TypeVar("Result")
PATIENCE = 30


class ServedControlPlane:
    """Serves on a Unix socket and on a port of loopback; its database lies in `folder`."""

    def __init__(self, folder: Path, socket: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.socket = socket
        self.port = free_port()
        self._nodes: list[asyncio.Task[None]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.do(self._start())
        self._nodes_token = self.token_file("operator").read_text().strip()

    async def _start(self) -> None:
        listen = f"unix:{self.socket}, 127.0.0.1:{self.port}"
        settings = ControlPlaneSettings(listen=listen, state=self.folder)
        self._app = create_app(settings)
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=5)
        await self._runner.setup()
        for address in parse_listen(listen):
            await start_site(self._runner, address, None)

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run it beside the server."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def token_file(self, role: Role) -> Path:
        """A file with a new token."""
        file = self.folder / f"{role}.token"
        secret = self.do(add_token(self._app[SERVICES].database, role))
        file.write_text(f"{secret}\n")
        return file

    def ship(self, *events: dict[str, Any], calls: tuple[ToolCall, ...] = ()) -> None:
        """Events and tool calls, as an uplink sends them."""

        async def work() -> None:
            async with self._client() as client:
                await client.ingest(samples.NODE, samples.BOOT, events=events, calls=calls)

        self.do(work())

    def report(self, name: str, *workloads: WorkloadReport, **fields: Any) -> None:
        """A node tells how it is."""

        async def work() -> None:
            async with self._client() as client:
                report = NodeReport(**samples.report(workloads=workloads, **fields))
                await client.report(name, report)

        self.do(work())

    def start_node(self, name: str, state: AckState | None = "acked") -> None:
        """A live node; None: it takes what it shall have in force and never says a word."""
        self.report(name)
        self.do(self._spawn(self._node(name, state)))

    async def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._nodes.append(asyncio.create_task(work))

    async def _node(self, name: str, state: AckState | None) -> None:
        version = None
        async with self._client() as client:
            while True:
                desired = await client.desired_policies(name, after=version, wait=PATIENCE)
                version = desired.version
                if state is None:
                    continue
                message = "no room in the kernel" if state == "failed" else ""
                answers = [
                    Acknowledgement(
                        policy=each.name, revision=each.revision, state=state, message=message
                    )
                    for each in desired.policies
                ]
                await client.acknowledge(name, samples.BOOT, answers)

    def _client(self) -> ApiClient:
        # One token for all nodes: an operator's, which speaks for any.
        return ApiClient(f"unix:{self.socket}", token=self._nodes_token)

    def close(self) -> None:
        """Stop, and leave nothing behind."""
        self.do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    async def _stop(self) -> None:
        for task in self._nodes:
            task.cancel()
        await asyncio.gather(*self._nodes, return_exceptions=True)
        await self._runner.cleanup()
