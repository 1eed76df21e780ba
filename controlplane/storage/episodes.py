# SPDX-License-Identifier: Apache-2.0
"""Episodes: bound by who runs them, or discovered by the first thing that names them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.records import (
    Completeness,
    Episode,
    EpisodeBinding,
    EpisodeSummary,
    ToolCall,
)
from controlplane.storage import calls as calls_storage
from controlplane.storage import dialect, incidents, streams, tallies
from controlplane.storage.plain import plain_json
from controlplane.storage.tables import calls as calls_table
from controlplane.storage.tables import episodes
from controlplane.storage.tables import incidents as incidents_table
from controlplane.storage.tables import streams as streams_table

RECORD_LIMIT = 5000
"""Calls and incidents given with an episode; the others are found by its name."""


async def put(
    connection: AsyncConnection,
    id: str,  # noqa: A002
    binding: EpisodeBinding,
    now: float,
) -> None:
    """Say whose an episode is. One that is closed stays closed."""
    row = {
        **_new(id, now, now),
        "node": binding.node,
        "workload": binding.workload,
        "labels": plain_json(binding.labels)[1],
    }
    newest = dialect.newest("node", "workload", "labels", "updated")
    await dialect.upsert(connection, episodes, [row], newest)


async def close(connection: AsyncConnection, id: str, now: float) -> None:  # noqa: A002
    """Close an episode that there is and that is open."""
    await connection.execute(
        update(episodes)
        .where(episodes.c.id == id, episodes.c.state == "open")
        .values(state="closed", closed=now, updated=now)
    )


async def discover(
    connection: AsyncConnection,
    events: Iterable[Mapping[str, Any]],
    calls: Iterable[ToolCall],
    now: float,
) -> None:
    """Make what events and calls name and nobody has bound yet, as old as the first of them."""
    begun: dict[str, float] = {}
    for event in events:
        call = event["tag"].get("call")
        if call and call.get("episode") is not None:
            begun[call["episode"]] = min(begun.get(call["episode"], event["time"]), event["time"])
    for record in calls:
        if record.episode is not None:
            begun[record.episode] = min(begun.get(record.episode, record.started), record.started)
    rows = [_new(name, created, now) for name, created in begun.items()]
    await dialect.upsert(connection, episodes, rows, dialect.newest("updated"))


async def get(connection: AsyncConnection, id: str) -> Episode | None:  # noqa: A002
    """The whole record of an episode."""
    name = id
    row = (await connection.execute(select(episodes).where(episodes.c.id == name))).first()
    if row is None:
        return None
    return Episode(
        id=row.id,
        state=row.state,
        created=row.created,
        closed=row.closed,
        node=row.node,
        workload=row.workload,
        labels=json.loads(row.labels),
        calls=await calls_storage.query(connection, episode=name, limit=RECORD_LIMIT),
        incidents=await incidents.query(connection, episode=name, limit=RECORD_LIMIT),
        decisions=await tallies.decisions(connection, name),
        completeness=await _completeness(connection, row),
    )


async def all(  # noqa: A001
    connection: AsyncConnection, limit: int = RECORD_LIMIT
) -> list[EpisodeSummary]:
    """Episodes, newest first."""
    count = (
        select(func.count())
        .where(incidents_table.c.episode == episodes.c.id)
        .scalar_subquery()
        .label("incidents")
    )
    query = select(episodes, count).order_by(episodes.c.created.desc(), episodes.c.id).limit(limit)
    names = EpisodeSummary.model_fields
    return [
        EpisodeSummary.model_validate({name: row._mapping[name] for name in names})
        for row in await connection.execute(query)
    ]


async def _completeness(connection: AsyncConnection, row: Row[Any]) -> Completeness:
    """Of all workloads that ran something of the episode.

    A lost event does not say whose it was: so long as one of a workload is missing, no episode
    in it is known to be whole.
    """
    by_calls = (
        select(streams_table.c.id)
        .join(
            calls_table,
            and_(
                calls_table.c.node == streams_table.c.node,
                calls_table.c.boot == streams_table.c.boot,
                calls_table.c.workload == streams_table.c.workload_id,
            ),
        )
        .where(calls_table.c.episode == row.id)
    )
    conditions: list[ColumnElement[bool]] = [
        streams_table.c.id.in_(tallies.streams_of(row.id)),
        streams_table.c.id.in_(by_calls),
    ]
    if row.workload is not None:
        bound = streams_table.c.workload == row.workload
        if row.node is not None:
            bound = and_(bound, streams_table.c.node == row.node)
        conditions.append(bound)
    return streams.completeness(await streams.matching(connection, or_(*conditions)))


def _new(name: str, created: float, now: float) -> dict[str, Any]:
    return {
        "id": name,
        "state": "open",
        "created": created,
        "closed": None,
        "node": None,
        "workload": None,
        "labels": "{}",
        "updated": now,
    }
