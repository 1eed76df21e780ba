# SPDX-License-Identifier: Apache-2.0
"""Events whose tag has but a call's number get its id and episode from the call's record.

The record may come before the event or after it: `fill_rows` and `fill_stored` are the two ways.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.storage import dialect, tallies
from controlplane.storage.streams import Stream
from controlplane.storage.tables import calls, events, streams


async def fill_rows(
    connection: AsyncConnection, rows: Sequence[dict[str, Any]], sources: Iterable[Stream]
) -> None:
    """Fill rows that are about to be stored from records that are here."""
    unnamed = [row for row in rows if row["call"] is None and row["call_number"] is not None]
    if not unnamed:
        return
    by_id = {stream.id: stream for stream in sources}
    wanted: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row in unnamed:
        stream = by_id[row["stream"]]
        wanted[stream.node, stream.boot].add(row["call_number"])
    known: dict[tuple[str, str, int], tuple[str, str | None]] = {}
    for (node, boot), numbers in wanted.items():
        for part in dialect.parts(numbers):
            query = select(calls.c.number, calls.c.id, calls.c.episode).where(
                calls.c.node == node,
                calls.c.boot == boot,
                calls.c.number.in_(part),
            )
            for number, call_id, episode in await connection.execute(query):
                known[node, boot, number] = call_id, episode
    for row in unnamed:
        stream = by_id[row["stream"]]
        found = known.get((stream.node, stream.boot, row["call_number"]))
        if found is not None:
            row["call"], row["episode"] = found


async def fill_stored(connection: AsyncConnection, records: Sequence[Mapping[str, Any]]) -> None:
    """Fill stored events from records (rows of `calls`) that have just come."""
    for part in dialect.parts(records):
        waiting = select(events.c.call_number).where(
            events.c.call.is_(None),
            events.c.call_number.is_not(None),
            events.c.call_number.in_([record["number"] for record in part]),
        )
        numbers = set((await connection.execute(waiting.distinct())).scalars())
        for record in part:
            if record["number"] in numbers:
                await _name(connection, record)


async def _name(connection: AsyncConnection, record: Mapping[str, Any]) -> None:
    same_boot = select(streams.c.id).where(
        streams.c.node == record["node"], streams.c.boot == record["boot"]
    )
    unnamed = and_(
        events.c.call.is_(None),
        events.c.call_number == record["number"],
        events.c.stream.in_(same_boot),
    )
    if record["episode"] is not None:
        query = select(events.c.stream, events.c.decision).where(unnamed)
        found = [
            {"episode": record["episode"], "stream": row.stream, "decision": row.decision}
            for row in await connection.execute(query)
        ]
        await tallies.add(connection, tallies.of_rows(found))
    named = update(events).where(unnamed)
    await connection.execute(named.values(call=record["id"], episode=record["episode"]))
