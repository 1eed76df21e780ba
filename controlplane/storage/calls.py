# SPDX-License-Identifier: Apache-2.0
"""Tool calls as the nodes recorded them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.records import ToolCall
from controlplane.storage import callnames, dialect
from controlplane.storage.fields import LARGEST_INTEGER, Fields
from controlplane.storage.plain import plain_json
from controlplane.storage.tables import calls

DEFAULT_LIMIT = 1000
LATEST = ("id", "episode", "step", "tool", "arguments", "workload", "binding", "started")


async def upsert(
    connection: AsyncConnection, records: Sequence[ToolCall], now: float = 0.0
) -> None:
    """Store records. An end is never undone by an older record without one.

    Raises IngestError, before anything is written, for numbers that no column can hold.
    """
    rows = [_row(record, f"calls[{index}]", now) for index, record in enumerate(records)]
    await dialect.upsert(connection, calls, rows, _changes)
    await callnames.fill_stored(connection, rows)


async def query(
    connection: AsyncConnection,
    episode: str | None = None,
    id: str | None = None,  # noqa: A002
    limit: int = DEFAULT_LIMIT,
) -> list[ToolCall]:
    """Calls, newest first."""
    statement = select(calls).order_by(calls.c.started.desc(), calls.c.number.desc())
    if episode is not None:
        statement = statement.where(calls.c.episode == episode)
    if id is not None:
        statement = statement.where(calls.c.id == id)
    return [_call(row) for row in await connection.execute(statement.limit(limit))]


async def by_number(
    connection: AsyncConnection, node: str, boot: str, numbers: Collection[int]
) -> list[ToolCall]:
    """Those of a boot's calls that are known."""
    statement = select(calls).where(
        calls.c.node == node, calls.c.boot == boot, calls.c.number.in_(numbers)
    )
    return [_call(row) for row in await connection.execute(statement)]


def _changes(new: dialect.Columns) -> Mapping[str, Any]:
    return {
        **{name: new[name] for name in (*LATEST, "received")},
        "ended": func.coalesce(new.ended, calls.c.ended),
        "ending": func.coalesce(new.ending, calls.c.ending),
    }


def _row(record: ToolCall, place: str, now: float) -> dict[str, Any]:
    fields = Fields(record.model_dump(exclude={"arguments"}), place)
    return {
        "node": fields.text("node"),
        "boot": fields.text("boot"),
        "number": fields.integer("number"),
        "id": fields.text("id"),
        "episode": fields.optional_text("episode"),
        "step": fields.optional_integer("step", -LARGEST_INTEGER),
        "tool": fields.optional_text("tool"),
        "arguments": plain_json(record.arguments)[1],
        "workload": fields.integer("workload"),
        "binding": fields.text("binding"),
        "started": fields.time("started"),
        "ended": None if record.ended is None else fields.time("ended"),
        "ending": fields.optional_text("ending"),
        "received": now,
    }


def _call(row: Row[Any]) -> ToolCall:
    fields = {name: row._mapping[name] for name in ToolCall.model_fields}
    return ToolCall.model_validate({**fields, "arguments": json.loads(row.arguments)})
