# SPDX-License-Identifier: Apache-2.0
"""The enforcer's Unix sockets: connections, frames, and who may ask for what.

`calls.sock` takes begin and end from anyone who can reach it; `admin.sock` is root's alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from loguru import logger

from controlplane.contract.timedlistener import TimedListener
from controlplane.contract.wire import (
    PROTOCOL_VERSION,
    FrameError,
    FrameReader,
    RequestError,
    encode,
    failure,
    success,
)
from enforcer.peers import Peer, peer_of

MAXIMUM_CONNECTIONS = 1024
MAXIMUM_OF_GROUP = 256
IDLE_READ = 1 << 16


class Connection:
    """One client; `closing` runs when it goes. since: seconds since boot, see TimedListener."""

    def __init__(self, peer: Peer, since: float) -> None:
        self.peer = peer
        self.since = since
        self.closing: list[Callable[[], None]] = []


Handler = Callable[[Connection, dict[str, Any]], Awaitable[dict[str, Any]]]


class SocketServer:
    """Serves one socket with a table of operations."""

    def __init__(
        self,
        path: Path,
        mode: int,
        operations: Mapping[str, Handler],
        group_of: Callable[[Peer], int] = lambda _: 0,
    ) -> None:
        self._path = path
        self._mode = mode
        self._operations = operations
        self._server: asyncio.Server | None = None
        self._group_of = group_of
        self._open: Counter[int] = Counter()

    async def start(self) -> None:
        """Listen; a socket left by an earlier agent is replaced."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # The process's umask is not for this folder: who may connect is the socket's mode.
        self._path.parent.chmod(0o755)
        self._path.unlink(missing_ok=True)
        before = os.umask(0o777 & ~self._mode)
        try:
            listener = TimedListener(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("socket")
        connection = Connection(peer_of(peer), TimedListener.since[peer.fileno()])
        frames = FrameReader()
        group = self._group_of(connection.peer)
        self._open[group] += 1
        try:
            if self._full(group):
                writer.write(encode(failure("busy", "too many connections")))
                return
            while data := await reader.read(IDLE_READ):
                for message in frames.feed(data):
                    writer.write(await self._reply(connection, message))
                    await writer.drain()
        except FrameError as error:
            logger.warning("{}: process {}: {}", self._path.name, connection.peer.pid, error)
            writer.write(encode(failure("bad_frame", str(error))))
        except ConnectionError:
            pass
        finally:
            self._open[group] -= 1
            for callback in connection.closing:
                self._let_go(callback)
            writer.close()

    def _full(self, group: int) -> bool:
        """Group 0 is who is in no workload; each workload has a part of the room."""
        total = self._open.total()
        return total > MAXIMUM_CONNECTIONS or (group != 0 and self._open[group] > MAXIMUM_OF_GROUP)

    def _let_go(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except (OSError, ValueError) as error:
            logger.error("{}: after a connection's end: {}", self._path.name, error)

    async def _reply(self, connection: Connection, message: dict[str, Any]) -> bytes:
        answer = await self._answer(connection, message)
        try:
            return encode(answer)
        except FrameError as error:
            text = f"the reply of {message.get('operation')} cannot be sent: {error}"
            return encode(failure("too_large", text))

    async def _answer(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        version = message.get("version")
        if version != PROTOCOL_VERSION:
            return failure("version", f"version {version!r} is not {PROTOCOL_VERSION}")
        operation = message.get("operation")
        handler = self._operations.get(operation) if isinstance(operation, str) else None
        if handler is None:
            known = ", ".join(sorted(self._operations))
            return failure("unknown_operation", f"operation {operation!r} is not one of {known}")
        try:
            return success(**await handler(connection, message))
        except RequestError as error:
            return failure(error.code, str(error))
        except (OSError, ValueError) as error:
            logger.error("{}: {} failed: {}", self._path.name, operation, error)
            return failure("failed", str(error))
