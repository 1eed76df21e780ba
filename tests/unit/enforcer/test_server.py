# SPDX-License-Identifier: Apache-2.0
"""Whatever a client sends, the server answers by name or hangs up, and goes on serving others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.wire import FrameReader, RequestError, encode
from enforcer import server
from enforcer.server import Connection, SocketServer


class Client:
    """One connection that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def replies(self, count: int) -> list[dict[str, Any]]:
        """The next replies; fewer if the server hangs up."""
        found: list[dict[str, Any]] = []
        while len(found) < count and (data := await self._reader.read(1 << 16)):
            found += self._frames.feed(data)
        return found

    async def request(self, operation: str, **fields: Any) -> dict[str, Any]:
        await self.send(encode({"version": 1, "operation": operation, **fields}))
        [reply] = await self.replies(1)
        return reply

    async def hung_up(self) -> bool:
        try:
            return not await asyncio.wait_for(self._reader.read(1), 5)
        except ConnectionError:
            return True

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Node:
    """A server on a socket with some operations, and what its handlers saw."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "run/calls.sock"
        self.seen: list[dict[str, Any]] = []
        self.peers: list[int] = []
        self.closed: list[str] = []
        self._clients: list[Client] = []
        operations = {"echo": self._echo, "refuse": self._refuse, "fail": self._fail,
                      "hold": self._hold, "large": self._large}  # fmt: skip
        self.server = SocketServer(self.path, 0o600, operations)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_unix_connection(str(self.path)))
        self._clients.append(client)
        return client

    async def stop(self) -> None:
        for client in self._clients:
            await client.close()
        await self.server.stop()
        await asyncio.sleep(0.05)

    async def _echo(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        self.peers.append(connection.peer.pid)
        self.seen.append(message)
        return {"text": message.get("text")}

    async def _refuse(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        raise RequestError("not_yours", "thread 5 is not yours")

    async def _fail(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        kinds: dict[Any, Exception] = {
            "os": OSError(28, "No space left on device", "map paths: update"),
            "value": ValueError("policy x: spec.mode: is missing"),
        }
        raise kinds[message["kind"]]

    async def _hold(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        connection.closing.append(lambda: self._closed(message["name"]))
        return {}

    def _closed(self, name: str) -> None:
        self.closed.append(name)
        if name == "one":
            raise OSError("the iterator's pin is gone")

    async def _large(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        return {"text": "x" * (2 << 20)}


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Node]:
    node = Node(folder)
    await node.server.start()
    try:
        yield node
    finally:
        await node.stop()


def run(folder: Path, work: Callable[[Node], Awaitable[None]]) -> None:
    """Serve, do `work` as a client, stop. An unhandled error of the server fails the test."""
    errors: list[Any] = []

    async def whole() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        async with served(folder) as node:
            await asyncio.wait_for(work(node), 20)

    asyncio.run(whole())
    assert errors == []


def test_requests_are_answered_in_order_on_one_connection(tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        client = await node.connect()
        frames = [encode({"version": 1, "operation": "echo", "text": n}) for n in range(50)]
        await client.send(b"".join(frames))
        replies = await client.replies(50)
        assert [reply["text"] for reply in replies] == list(range(50))
        assert all(reply["ok"] and reply["version"] == 1 for reply in replies)
        assert set(node.peers) == {os.getpid()}

    run(tmp_path, work)


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ({"version": 2, "operation": "echo"}, "version", "version 2 is not 1"),
        ({"operation": "echo"}, "version", "version None is not 1"),
        ({"version": "1", "operation": "echo"}, "version", "version '1' is not 1"),
        ({"version": 1}, "unknown_operation", "operation None is not one of echo, fail, hold"),
        ({"version": 1, "operation": "rm -rf\n"}, "unknown_operation", "'rm -rf\\n' is not one"),
        ({"version": 1, "operation": ["echo"]}, "unknown_operation", "['echo'] is not one of"),
        ({"version": 1, "operation": "refuse"}, "not_yours", "thread 5 is not yours"),
        ({"version": 1, "operation": "fail", "kind": "os"}, "failed", "No space left on device"),
        ({"version": 1, "operation": "fail", "kind": "value"}, "failed", "spec.mode: is missing"),
        ({"version": 1, "operation": "large"}, "too_large", "the reply of large cannot be sent"),
    ],
)
def test_a_refusal_has_a_code_and_a_cause_and_the_connection_goes_on(
    message: dict[str, Any], code: str, text: str, tmp_path: Path
) -> None:
    async def work(node: Node) -> None:
        client = await node.connect()
        await client.send(encode(message))
        [reply] = await client.replies(1)
        assert (reply["ok"], reply["error"]["code"]) == (False, code)
        assert text in reply["error"]["message"]
        assert "Traceback" not in reply["error"]["message"]
        assert (await client.request("echo", text="still here"))["text"] == "still here"

    run(tmp_path, work)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "over the limit"),
        (b"\xff\xff\xff\xff", "over the limit"),
        (b"\0\0\0\1\xc1", "is not msgpack"),
        (b"\0\0\0\0", "is not msgpack"),
        (b"\0\0\0\1\x93", "is not msgpack"),
        (b"\0\0\0\1\x05", "is not a mapping"),
    ],
)
def test_a_bad_frame_is_answered_and_the_connection_closed(
    data: bytes, cause: str, tmp_path: Path
) -> None:
    async def work(node: Node) -> None:
        bystander, client = await node.connect(), await node.connect()
        await client.send(encode({"version": 1, "operation": "echo", "text": "before"}) + data)
        first, last = await client.replies(2)
        assert first["text"] == "before"
        assert last["error"]["code"] == "bad_frame"
        assert cause in last["error"]["message"]
        assert await client.hung_up()
        assert (await bystander.request("echo", text="fine"))["text"] == "fine"

    run(tmp_path, work)


def test_a_frame_may_come_byte_by_byte(tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        client = await node.connect()
        for byte in encode({"version": 1, "operation": "echo", "text": "slow"}):
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        [reply] = await client.replies(1)
        assert reply["text"] == "slow"

    run(tmp_path, work)


def test_a_client_that_hangs_up_in_a_frame_is_nothing_special(tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        for cut in (1, 4, 10):
            client = await node.connect()
            await client.send(encode({"version": 1, "operation": "echo"})[:cut])
            await client.close()
        assert (await (await node.connect()).request("echo", text=1))["text"] == 1
        assert len(node.seen) == 1

    run(tmp_path, work)


def test_what_a_connection_held_is_let_go_with_it(tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        kept, gone = await node.connect(), await node.connect()
        for client, name in ((kept, "kept"), (gone, "one"), (gone, "two")):
            await client.request("hold", name=name)
        await gone.close()
        await kept.request("echo")
        for _ in range(100):
            if len(node.closed) == 2:
                break
            await asyncio.sleep(0.02)
        assert node.closed == ["one", "two"]

    run(tmp_path, work)


def test_connections_over_the_limit_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAXIMUM_CONNECTIONS", 3)

    async def work(node: Node) -> None:
        clients = [await node.connect() for _ in range(3)]
        for client in clients:
            await client.request("echo")
        late = await node.connect()
        [reply] = await late.replies(1)
        assert reply["error"] == {"code": "busy", "message": "too many connections"}
        assert await late.hung_up()
        await clients[0].close()
        await clients[1].request("echo")
        await asyncio.sleep(0.1)
        assert (await (await node.connect()).request("echo", text=7))["text"] == 7

    run(tmp_path, work)


def test_one_workload_cannot_shut_the_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAXIMUM_OF_GROUP", 2)
    group = [5]

    async def work(node: Node) -> None:
        node.server._group_of = lambda _: group[0]
        for _ in range(2):
            await (await node.connect()).request("echo")
        [reply] = await (await node.connect()).replies(1)
        assert reply["error"]["code"] == "busy"
        for other in (6, 0, 0, 0):
            group[0] = other
            assert (await (await node.connect()).request("echo", text=1))["text"] == 1

    run(tmp_path, work)


def test_a_socket_for_everyone_lies_where_everyone_may_go(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        node = Node(tmp_path)
        node.server = SocketServer(node.path, 0o666, {})

        async def started() -> None:
            await node.server.start()
            await node.server.stop()
            assert os.umask(0o077) == 0o077

        asyncio.run(started())
    finally:
        os.umask(before)
    assert stat.S_IMODE(node.path.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(node.path.stat().st_mode) == 0o666


def test_a_socket_left_by_an_earlier_agent_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/calls.sock").touch()

    async def work(node: Node) -> None:
        mode = node.path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert (await (await node.connect()).request("echo", text=1))["ok"]

    run(tmp_path, work)
