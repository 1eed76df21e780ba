# SPDX-License-Identifier: Apache-2.0
"""All that differs from one SQL database to another. Today: SQLite. PostgreSQL follows here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Table, case, event, text
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.base import ReadOnlyColumnCollection

Value = TypeVar("Value")
Columns = ReadOnlyColumnCollection[str, ColumnElement[Any]]

WRITING = "lictor_writing"
"""Execution option of a connection that is going to write."""

BUSY_MILLISECONDS = 10_000
"""How long a statement waits for another process, as a backup or `lictor token`."""

PARAMETERS = 500
"""Values in one statement's list: SQLite takes 32,766 in a statement, older ones 999."""

# synchronous FULL: a commit that has returned outlives a power cut.
PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA journal_size_limit = {64 << 20}",
    "PRAGMA foreign_keys = ON",
)


def prepare(engine: AsyncEngine) -> None:
    """Set each new connection up, and begin transactions as this database needs it."""

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: DBAPIConnection, _: object) -> None:
        # The driver begins no transactions of its own: `begin` below does.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA page_count")
        if cursor.fetchone() == (0,):
            # It counts only before the first table. Said of a database with tables, it writes.
            cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for pragma in PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A write lock from the start: one taken half-way can fail after reads were believed.
        writing = connection.get_execution_options().get(WRITING, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


async def upsert(
    connection: AsyncConnection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    changes: Callable[[Columns], Mapping[str, Any]] | None = None,
) -> None:
    """Insert rows. Where the primary key is there already: make these changes, or none.

    changes: given the columns of the row that was to be inserted, column -> new value.
    """
    if not rows:
        return
    statement = sqlite_insert(table)
    key = list(table.primary_key.columns)
    await connection.execute(
        statement.on_conflict_do_nothing(index_elements=key)
        if changes is None
        else statement.on_conflict_do_update(index_elements=key, set_=changes(statement.excluded)),
        [dict(row) for row in rows],
    )


def newest(*names: str) -> Callable[[Columns], Mapping[str, Any]]:
    """Changes for `upsert`: these columns take the new row's values."""
    return lambda new: {name: new[name] for name in names}


def greater(left: ColumnElement[Any], right: ColumnElement[Any]) -> ColumnElement[Any]:
    """The greater of two values."""
    return case((left > right, left), else_=right)


def parts(values: Collection[Value]) -> Iterator[list[Value]]:
    """The values in lists that one statement takes."""
    ordered = list(values)
    for start in range(0, len(ordered), PARAMETERS):
        yield ordered[start : start + PARAMETERS]


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that the database's content takes, and bytes that are free inside its file."""

    used: int
    free: int


async def room(connection: AsyncConnection) -> Room:
    """How large the database is."""
    pages, free, size = [
        int((await connection.execute(text(f"PRAGMA {name}"))).scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    ]
    return Room((pages - free) * size, free * size)


async def give_back(connection: AsyncConnection, pages: int) -> None:
    """Give that much of what is free back to the file system. Commits what was written before."""
    raw = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    # It frees one page each time that it is stepped, and Python's driver steps a statement without
    # columns but once, unless it is part of a script.
    await raw.executescript(f"PRAGMA incremental_vacuum({pages:d})")
