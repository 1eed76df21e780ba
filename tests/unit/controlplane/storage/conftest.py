# SPDX-License-Identifier: Apache-2.0
"""A real database in a file, used from tests that are plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.records import IngestResult, ToolCall
from controlplane.storage import events, ingest
from controlplane.storage.database import Database
from controlplane.storage.events import EventFilter
from tests.unit.controlplane.samples import BOOT, NODE

P = ParamSpec("P")
Result = TypeVar("Result")
NOW = 1_795_433_300.0


class Storage:
    """Each call is one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._runner = asyncio.Runner()
        self.database = self.run(Database.open(path))

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run something on the loop that the database lives on."""
        return self._runner.run(coroutine)

    def write(
        self,
        function: Callable[Concatenate[AsyncConnection, P], Awaitable[Result]],
        *args: P.args,
        **fields: P.kwargs,
    ) -> Result:
        """A function of the storage, in a transaction of its own."""

        async def written() -> Result:
            async with self.database.writing() as connection:
                return await function(connection, *args, **fields)

        return self.run(written())

    def read(
        self,
        function: Callable[Concatenate[AsyncConnection, P], Awaitable[Result]],
        *args: P.args,
        **fields: P.kwargs,
    ) -> Result:
        """A function of the storage that only reads."""

        async def done() -> Result:
            async with self.database.reading() as connection:
                return await function(connection, *args, **fields)

        return self.run(done())

    def ship(
        self,
        batch: Sequence[dict[str, Any]] = (),
        calls: Sequence[ToolCall] = (),
        dropped: int = 0,
        now: float = NOW,
        node: str = NODE,
        boot: str = BOOT,
    ) -> IngestResult:
        """A batch, as the node's uplink sends it."""
        return self.write(ingest.batch, node, boot, batch, calls, dropped, now)

    def ids(self, **wanted: Any) -> list[str]:
        """The ids of events that a filter finds."""
        return [e.id for e in self.read(events.query, EventFilter(**wanted)).events]

    def close(self) -> None:
        """Close the database and its loop."""
        self.run(self.database.close())
        self._runner.close()


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    made = Storage(tmp_path / "controlplane.db")
    yield made
    made.close()
