# SPDX-License-Identifier: Apache-2.0
"""A control plane in memory on a real Unix socket, as far as nodes speak to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
from aiohttp import web

from controlplane.contract.records import DesiredPolicies, PolicyRevision, Problem

Refusal = Callable[[dict[str, Any]], int | None]


class FakeControlPlane:
    """Stores what it is sent. refuse: the status with which a batch is answered, if any."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Condition()
        self.desired = DesiredPolicies(version=0, policies=[])
        self.events: list[dict[str, Any]] = []
        self.calls: dict[int, dict[str, Any]] = {}
        self.batches: list[dict[str, Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.tokens: list[str | None] = []
        self.refuse: Refusal = lambda _: None

    @property
    def address(self) -> str:
        return f"unix:{self._path}"

    async def start(self) -> None:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/v1/nodes/{node}/events", self._ingest)
        app.router.add_post("/v1/nodes/{node}/report", self._report)
        app.router.add_post("/v1/nodes/{node}/acknowledgements", self._acknowledge)
        app.router.add_get("/v1/nodes/{node}/policies", self._policies)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._path)).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def put(self, *policies: PolicyRevision) -> None:
        """What nodes shall have from now on."""
        async with self._changed:
            version = self.desired.version + 1
            self.desired = DesiredPolicies(version=version, policies=list(policies))
            self._changed.notify_all()

    def sequences(self) -> list[int]:
        """Numbers of the events that are stored, in the order of arrival."""
        return [event["sequence"] for event in self.events]

    async def _ingest(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization"))
        batch = msgpack.unpackb(await request.read(), unicode_errors="surrogateescape")
        batch["node"] = request.match_info["node"]
        self.batches.append(batch)
        status = self.refuse(batch)
        if status is not None:
            return _problem(status, "refused for a test")
        new = [event for event in batch["events"] if event not in self.events]
        self.events += new
        for call in batch["calls"]:
            self.calls[call["number"]] = call
        known = len(batch["events"]) - len(new)
        return web.json_response({"accepted": len(new), "duplicates": known})

    async def _report(self, request: web.Request) -> web.Response:
        self.reports.append(await request.json())
        return web.Response(status=204)

    async def _acknowledge(self, request: web.Request) -> web.Response:
        for word in (await request.json())["acknowledgements"]:
            self.acknowledged[word["policy"]] = word
        return web.Response(status=204)

    async def _policies(self, request: web.Request) -> web.Response:
        after = request.query.get("after")
        wait = float(request.query.get("wait", "0"))
        try:
            async with asyncio.timeout(wait), self._changed:
                await self._changed.wait_for(lambda: str(self.desired.version) != after)
        except TimeoutError:
            pass
        return web.Response(text=self.desired.model_dump_json(), content_type="application/json")


def _problem(status: int, detail: str) -> web.Response:
    problem = Problem(title="refused", status=status, detail=detail)
    return web.Response(
        status=status, text=problem.model_dump_json(), content_type="application/problem+json"
    )
