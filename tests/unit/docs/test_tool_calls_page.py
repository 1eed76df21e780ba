# SPDX-License-Identifier: Apache-2.0
"""docs/tool-calls.md: its examples run against the agent's socket server; lists are whole."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enforcer.calls import CallRequest, parse_begin
from enforcer.server import MAXIMUM_CONNECTIONS, MAXIMUM_OF_GROUP, Connection, SocketServer

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs/tool-calls.md").read_text(encoding="utf-8")
ANSWERING = ("enforcer/agent.py", "enforcer/calls.py", "enforcer/server.py")
RAISED = re.compile(r"(?:RequestError|failure)\(\s*\"(\w+)\"")


class Announced:
    """A calls socket that accepts everything and keeps what was announced."""

    def __init__(self, path: Path) -> None:
        self.begun: list[CallRequest] = []
        self.ended: list[int] = []
        operations = {"begin": self._begin, "end": self._end}
        self._server = SocketServer(path, 0o600, operations)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        await self._server.stop()
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        if pending:
            await asyncio.wait(pending, timeout=5)

    async def _begin(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        self.begun.append(parse_begin(message))
        return {"call": len(self.begun), "episode": None}

    async def _end(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        self.ended.append(message["call"])
        return {"call": message["call"]}


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "calls.sock"


@pytest.fixture
def announced(socket_path: Path) -> Iterator[Announced]:
    server = Announced(socket_path)
    yield server
    server.close()


@pytest.fixture
def examples(tmp_path: Path, socket_path: Path) -> Path:
    """A folder with the page's programs, each under the name in its first line."""
    folder = tmp_path / "examples"
    folder.mkdir()
    for program in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        [name] = re.findall(r"\A# (\w+\.py)\n", program)
        (folder / name).write_text(
            program.replace("/run/lictor/calls/calls.sock", str(socket_path))
        )
    return folder


def run(folder: Path, name: str) -> str:
    done = subprocess.run(
        [sys.executable, name], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_threads_example_binds_each_call_to_a_thread(
    examples: Path, announced: Announced
) -> None:
    assert run(examples, "threads.py") == "one\ntwo\n"
    assert {call.id for call in announced.begun} == {"call_1", "call_2"}
    assert all(call.thread is not None and call.target is None for call in announced.begun)
    assert sorted(announced.ended) == [1, 2]


def test_the_shell_example_binds_one_process_to_call_after_call(
    examples: Path, announced: Announced
) -> None:
    assert run(examples, "shell.py") == "three\n/tmp\n"
    first, second = announced.begun
    assert (first.id, second.id) == ("call_3", "call_4")
    assert first.target is not None
    assert first.target == second.target
    assert announced.ended == [1, 2]


def test_every_error_code_is_explained() -> None:
    raised = {
        code for name in ANSWERING for code in RAISED.findall((REPOSITORY / name).read_text())
    }
    rows = r"^\| `(\w+)` \| (?!text|integer|anything|boolean)"
    assert raised == set(re.findall(rows, PAGE, re.MULTILINE))


@pytest.mark.parametrize("field", list(CallRequest.__dataclass_fields__))
def test_a_field_of_begin_is_explained(field: str) -> None:
    assert re.search(rf"^\| `{field}` \| ", PAGE, re.MULTILINE)


def test_the_limits_of_connections_are_those_of_the_server() -> None:
    limits = (REPOSITORY / "docs/limits.md").read_text(encoding="utf-8")
    for page in (PAGE, limits):
        assert f"{MAXIMUM_CONNECTIONS:,} connections" in page
        assert re.search(rf"\b{MAXIMUM_OF_GROUP}\b", page)
