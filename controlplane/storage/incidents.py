# SPDX-License-Identifier: Apache-2.0
"""Incidents: kept for correlation to go on with, and given to people."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.records import Incident, IncidentChange, IncidentDetail, IncidentState
from controlplane.correlate.incident import KnownIncident, Tally
from controlplane.correlate.key import IncidentKey
from controlplane.storage import calls, dialect, events
from controlplane.storage.followed import followed
from controlplane.storage.plain import plain_json
from controlplane.storage.tables import events as events_table
from controlplane.storage.tables import incidents

DEFAULT_LIMIT = 200
DETAIL_EVENTS = 500
"""Events given with an incident; the others are found by its call."""


async def apply(
    connection: AsyncConnection, changes: Iterable[KnownIncident], now: float = 0.0
) -> None:
    """Store what correlation has changed."""
    rows = [_row(incident, now) for incident in changes]
    await dialect.upsert(
        connection,
        incidents,
        rows,
        dialect.newest("episode", "first", "last", "body", "updated"),
    )


async def load(
    connection: AsyncConnection, keys: Collection[IncidentKey]
) -> dict[IncidentKey, KnownIncident]:
    """The incidents of these keys that there are."""
    ids = [key.incident_id() for key in keys]
    found: dict[IncidentKey, KnownIncident] = {}
    for part in dialect.parts(ids):
        query = select(incidents).where(incidents.c.id.in_(part))
        found |= {known.key: known for known in map(_known, await connection.execute(query))}
    return found


async def of_calls(
    connection: AsyncConnection, node: str, boot: str, numbers: Collection[int]
) -> dict[IncidentKey, KnownIncident]:
    """The incidents of these calls of one boot."""
    found: dict[IncidentKey, KnownIncident] = {}
    for part in dialect.parts(numbers):
        query = select(incidents).where(
            incidents.c.node == node,
            incidents.c.boot == boot,
            incidents.c.call_number.in_(part),
        )
        found |= {known.key: known for known in map(_known, await connection.execute(query))}
    return found


async def query(
    connection: AsyncConnection,
    state: IncidentState | None = None,
    episode: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> list[Incident]:
    """Incidents, the one with the latest event first."""
    statement = select(incidents).order_by(incidents.c.last.desc(), incidents.c.id)
    if state is not None:
        statement = statement.where(incidents.c.state == state)
    if episode is not None:
        statement = statement.where(incidents.c.episode == episode)
    return [_known(row).record() for row in await connection.execute(statement.limit(limit))]


async def get(connection: AsyncConnection, id: str) -> IncidentDetail | None:  # noqa: A002
    """An incident, its call, its events, and what its call did from the first of them on."""
    row = (await connection.execute(select(incidents).where(incidents.c.id == id))).first()
    if row is None:
        return None
    known = _known(row)
    key = known.key
    call = (
        []
        if key.call is None
        else await calls.by_number(connection, key.node, key.boot, [key.call])
    )
    table = events_table
    statement = events.stored_events().where(table.c.incident == id).order_by(table.c.position)
    own = await events.fetch(connection, statement.limit(DETAIL_EVENTS))
    position = own[0].position if own else 0
    return IncidentDetail(
        incident=known.record(),
        call=call[0] if call else None,
        events=own,
        followed=await followed(connection, known, position, DETAIL_EVENTS),
    )


async def change(
    connection: AsyncConnection,
    id: str,  # noqa: A002
    wanted: IncidentChange,
    now: float,
) -> Incident | None:
    """Set an operator's state or note; None if there is no such incident."""
    values: dict[str, Any] = {"updated": now}
    if wanted.state is not None:
        values["state"] = wanted.state
    if wanted.note is not None:
        values["note"] = wanted.note
    await connection.execute(update(incidents).where(incidents.c.id == id).values(**values))
    row = (await connection.execute(select(incidents).where(incidents.c.id == id))).first()
    return None if row is None else _known(row).record()


def _row(known: KnownIncident, now: float) -> dict[str, Any]:
    return {
        "id": known.key.incident_id(),
        "node": known.key.node,
        "boot": known.key.boot,
        "call_number": known.key.call,
        "episode": known.episode,
        "state": known.state,
        "note": known.note,
        "first": known.first,
        "last": known.last,
        "body": plain_json(asdict(known))[1],
        "updated": now,
    }


def _known(row: Row[Any]) -> KnownIncident:
    body = json.loads(row.body)
    return KnownIncident(
        **{
            **body,
            "key": IncidentKey(**body["key"]),
            "targets": Tally(**body["targets"]),
            "rules": Tally(**body["rules"]),
            "state": row.state,
            "note": row.note,
        }
    )
