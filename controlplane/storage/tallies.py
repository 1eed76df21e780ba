# SPDX-License-Identifier: Apache-2.0
"""How many events of an episode were decided how, by workload.

Counted as events come: counting them for each look at an episode would read all of them, and
those that went by age would be missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.storage import dialect
from controlplane.storage.tables import tallies


class Tally(NamedTuple):
    """What is counted together."""

    episode: str
    stream: int
    decision: str


async def add(connection: AsyncConnection, counts: Mapping[Tally, int]) -> None:
    """Count so many more events."""
    rows = [{**tally._asdict(), "events": count} for tally, count in counts.items()]
    await dialect.upsert(
        connection, tallies, rows, lambda new: {"events": tallies.c.events + new.events}
    )


def of_rows(rows: Iterable[Mapping[str, Any]]) -> Counter[Tally]:
    """What rows of `events` count for."""
    return Counter(
        Tally(row["episode"], row["stream"], row["decision"])
        for row in rows
        if row["episode"] is not None
    )


async def decisions(connection: AsyncConnection, episode: str) -> dict[str, int]:
    """How many of an episode's events were decided how."""
    query = (
        select(tallies.c.decision, func.sum(tallies.c.events).label("events"))
        .where(tallies.c.episode == episode)
        .group_by(tallies.c.decision)
        .order_by(tallies.c.decision)
    )
    return {row.decision: int(row.events) for row in await connection.execute(query)}


def streams_of(episode: str) -> Select[tuple[int]]:
    """The streams in which events of an episode came."""
    return select(tallies.c.stream).where(tallies.c.episode == episode)
