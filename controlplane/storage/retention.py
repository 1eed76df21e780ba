# SPDX-License-Identifier: Apache-2.0
"""What goes by age and by size: oldest first, in short transactions, and counted.

Age is by the time of arrival, on this machine's clock: a node's wrong clock must not delete what
has just come. A workload's events go from its lowest sequence number on, so that one number, its
floor, says what went: what is sent again from below it is not taken a second time, and what had
been missing there is still known to be missing.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.storage import dialect
from controlplane.storage.database import Database
from controlplane.storage.streams import matching, save
from controlplane.storage.tables import calls, episodes, events, incidents, streams, tallies

CHUNK = 2000
"""Events of one transaction: ingest waits no longer than it takes to delete so many."""

SLACK_BYTES = 64 << 20
"""Free room inside the file that is kept for what comes next."""

PAGES_AT_ONCE = 4000


@dataclass(slots=True)
class Removed:
    """How many rows went."""

    events: int = 0
    calls: int = 0
    incidents: int = 0
    episodes: int = 0


async def run(database: Database, *, now: float, seconds: float, limit: int) -> Removed:
    """Remove what is older than `seconds`, then the oldest events and calls above `limit` bytes."""
    removed = Removed()
    await _by_age(database, now - seconds, removed, now)
    await _by_size(database, limit, removed, now)
    more = True
    while more:
        more = await _give_back(database)
    return removed


async def _by_age(database: Database, cutoff: float, removed: Removed, now: float) -> None:
    count = CHUNK
    while count >= CHUNK:
        async with database.writing() as connection:
            count = await _oldest_events(connection, cutoff, now)
        removed.events += count
    async with database.writing() as connection:
        removed.calls += await _delete(connection, calls, calls.c.received < cutoff)
        removed.incidents += await _delete(connection, incidents, incidents.c.updated < cutoff)
        old = episodes.c.updated < cutoff
        of_old = tallies.c.episode.in_(select(episodes.c.id).where(old))
        await _delete(connection, tallies, of_old)
        removed.episodes += await _delete(connection, episodes, old)
        of_events = exists().where(events.c.stream == streams.c.id)
        of_episodes = exists().where(tallies.c.stream == streams.c.id)
        unused = (streams.c.updated < cutoff) & ~of_events & ~of_episodes
        await _delete(connection, streams, unused)


async def _by_size(database: Database, limit: int, removed: Removed, now: float) -> None:
    while True:
        async with database.writing() as connection:
            if (await dialect.room(connection)).used <= limit:
                return
            gone = await _oldest_events(connection, None, now)
            gone_calls = await _oldest_calls(connection)
        removed.events += gone
        removed.calls += gone_calls
        if not gone and not gone_calls:
            return


async def _oldest_events(connection: AsyncConnection, cutoff: float | None, now: float) -> int:
    """Delete a chunk of the oldest that came before the cutoff; gives how many went."""
    query = (
        select(events.c.position, events.c.stream, events.c.key, events.c.received)
        .order_by(events.c.position)
        .limit(CHUNK)
    )
    tops: dict[int, int] = defaultdict(int)
    unnumbered: list[int] = []
    for row in await connection.execute(query):
        if cutoff is not None and row.received >= cutoff:
            break
        tops[row.stream] = max(tops[row.stream], row.key)
        if row.key < 0:
            unnumbered.append(row.position)
    count = 0
    if not tops:
        return count
    found = [
        stream
        for part in dialect.parts(tops)
        for stream in await matching(connection, streams.c.id.in_(part))
    ]
    for stream in found:
        stream.floor = max(stream.floor, tops[stream.id])
        below = (events.c.stream == stream.id) & events.c.key.between(1, stream.floor)
        gone = await _delete(connection, events, below)
        stream.stored -= gone
        stream.removed += gone
        count += gone
    for part in dialect.parts(unnumbered):
        count += await _delete(connection, events, events.c.position.in_(part))
    await save(connection, found, now)
    return count


async def _oldest_calls(connection: AsyncConnection) -> int:
    """Delete calls that came before every event that is left; without events, the oldest."""
    oldest = select(events.c.received).order_by(events.c.position).limit(1)
    left = (await connection.execute(oldest)).scalar_one_or_none()
    chunk = select(calls.c.received).order_by(calls.c.received).limit(CHUNK)
    cutoff = max((await connection.execute(chunk)).scalars(), default=None)
    if cutoff is None:
        return 0
    condition = calls.c.received <= cutoff
    if left is not None:
        condition &= calls.c.received < left
    return await _delete(connection, calls, condition)


async def _give_back(database: Database) -> bool:
    """Give a part of the free room back, if it is much; whether there is more."""
    async with database.writing() as connection:
        before = (await dialect.room(connection)).free
        if before <= SLACK_BYTES:
            return False
        await dialect.give_back(connection, PAGES_AT_ONCE)
        return (await dialect.room(connection)).free < before


async def _delete(connection: AsyncConnection, table: Any, condition: Any) -> int:
    return (await connection.execute(delete(table).where(condition))).rowcount
