# SPDX-License-Identifier: Apache-2.0
"""The real application on a Unix socket and on loopback, over a real database file."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy
from yarl import URL

from controlplane import security
from controlplane.app import create_app
from controlplane.contract.records import Role, Token
from controlplane.listening import parse_listen, start_site
from controlplane.services import SERVICES, Services
from controlplane.settings import ControlPlaneSettings
from controlplane.storage import tokens
from controlplane.storage.database import Database
from tests.api.conformance import Conformance
from tests.api.samples import NODE

START = 1_795_433_300.0
PATIENCE = 30


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Answer:
    """What came back. body: parsed JSON, or text, or None where there was none."""

    status: int
    headers: CIMultiDictProxy[str]
    body: Any

    @property
    def faults(self) -> dict[str, str]:
        """Field -> message of a problem's faults."""
        return {fault["field"]: fault["message"] for fault in self.body["faults"]}


class Api:
    """The served application, as a client sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "api" / "api.sock"
        self.port = free_port()
        self.clock = Clock()
        self.conformance: Conformance
        self.services: Services
        self.operator = ""
        self._runner: web.AppRunner
        self._tcp: aiohttp.ClientSession
        self._unix: aiohttp.ClientSession

    async def serve(self, work: Callable[[Api], Awaitable[None]]) -> None:
        """Start, do `work`, stop as a signal would."""
        listen = f"unix:{self.socket}, 127.0.0.1:{self.port}"
        settings = ControlPlaneSettings(listen=listen, state=self.folder)
        app = create_app(settings, self.clock)
        runner = self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
        await runner.setup()
        try:
            for address in parse_listen(settings.listen):
                await start_site(runner, address, None)
            self.services = app[SERVICES]
            async with (
                aiohttp.ClientSession() as self._tcp,
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(str(self.socket))
                ) as self._unix,
            ):
                self.operator = await self.token("operator")
                async with self._tcp.get(self._url("/v1/openapi.json")) as response:
                    self.conformance = Conformance(await response.json())
                await work(self)
        finally:
            await runner.cleanup()

    async def stop(self) -> None:
        """Stop serving while the client goes on."""
        await self._runner.cleanup()

    async def token(self, role: Role, node: str | None = None, **fields: Any) -> str:
        """A token that is stored directly, so that a test may begin with any."""
        if role == "node" and node is None:
            node = NODE
        return await add_token(self.services.database, role, node=node, **fields)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = "",
        by_socket: bool = False,
        headers: dict[str, str] | None = None,
        **content: Any,
    ) -> Answer:
        """One request; token: the operator's if not given, None for none."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token or self.operator}"
        session = self._unix if by_socket else self._tcp
        async with session.request(method, self._url(path), headers=sent, **content) as response:
            raw = await response.read()
            body: Any = None
            if response.content_type.endswith("json"):
                body = await response.json(content_type=None)
            elif raw:
                body = raw.decode("utf-8")
            if method != "HEAD":
                template = URL(path, encoded=True).raw_path
                self.conformance.check(
                    method, template, response.status, response.content_type, body
                )
            return Answer(response.status, response.headers, body)

    async def put(self, name: str, text: str, **more: Any) -> Answer:
        """PUT a policy in YAML."""
        headers = {"Content-Type": "application/yaml", **more.pop("headers", {})}
        path = f"/v1/policies/{name}"
        return await self.ask("PUT", path, data=text.encode(), headers=headers, **more)

    async def ship(self, data: bytes, node: str = NODE, **more: Any) -> Answer:
        """POST a batch of events."""
        headers = {"Content-Type": "application/msgpack"}
        path = f"/v1/nodes/{node}/events"
        return await self.ask("POST", path, data=data, headers=headers, **more)

    def _url(self, path: str) -> URL:
        return URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)


async def add_token(database: Database, role: Role, **fields: Any) -> str:
    """Store a token; gives its text."""
    number, secret = security.new_token()
    plain = {"node": None, "created": START, "expires": None, "revoked": None, "last_used": None}
    token = Token.model_validate(
        {"id": number, "name": f"the {role}", "role": role, **plain, **fields}
    )
    async with database.writing() as connection:
        await tokens.add(connection, token, security.token_hash(secret))
    return secret


def free_port() -> int:
    """A port that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task is about to do."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (a count of metrics tells nobody that it changed)
            await asyncio.sleep(0.005)
