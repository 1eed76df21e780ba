# SPDX-License-Identifier: Apache-2.0
"""Root of this machine is believed to be outside workloads only if the agent says so."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from controlplane import localpeers
from controlplane.contract.wire import FrameReader, encode, failure, success


def answered(folder: Path, reply: bytes) -> tuple[bool, list[dict[str, Any]]]:
    """What is made of an agent's `reply`, and what it was asked."""
    asked: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader()
        while not asked and (data := await reader.read(1000)):
            asked.extend(frames.feed(data))
        writer.write(reply)
        writer.close()

    async def main() -> bool:
        server = await asyncio.start_unix_server(serve, str(folder / "calls.sock"))
        async with server:
            return await localpeers.is_surely_outside(77, 12.5, folder / "calls.sock")

    return asyncio.run(main()), asked


@pytest.mark.parametrize(
    ("reply", "outside"),
    [
        (encode(success(outside=True)), True),
        (encode(success(outside=False)), False),
        (encode(success()), False),
        (encode(success(outside="yes")), False),
        (encode(failure("not_allowed", "no")), False),
        (b"", False),
        (b"\0\0\0\4nope", False),
    ],
)
def test_only_a_clear_word_of_the_agent_counts(reply: bytes, outside: bool, tmp_path: Path) -> None:
    found, asked = answered(tmp_path, reply)
    assert found is outside
    assert asked == [{"version": 1, "operation": "outside", "pid": 77, "since": 12.5}]


def test_where_no_agent_ever_ran_there_is_no_workload(tmp_path: Path) -> None:
    assert asyncio.run(localpeers.is_surely_outside(77, 12.5, tmp_path / "calls.sock"))


def test_an_agent_that_is_away_leaves_it_open_and_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "calls.sock"

    async def main() -> bool:
        server = await asyncio.start_unix_server(lambda _r, w: w.close(), str(path))
        server.close()
        await server.wait_closed()
        path.touch()
        return await localpeers.is_surely_outside(77, 12.5, path)

    assert asyncio.run(main()) is False


def test_an_agent_that_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localpeers, "ANSWER_SECONDS", 0.1)
    path = tmp_path / "calls.sock"

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        heard.set()

    heard = asyncio.Event()

    async def main() -> bool:
        async with await asyncio.start_unix_server(silent, str(path)):
            found = await localpeers.is_surely_outside(77, 12.5, path)
            await heard.wait()
            return found

    assert asyncio.run(main()) is False
