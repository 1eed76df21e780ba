# SPDX-License-Identifier: Apache-2.0
"""Events: each kept once, however often it is sent, and found by what it is about."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, select, text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.event import AGENT_KINDS, UNNUMBERED_DIGITS, stored_event_id
from controlplane.contract.records import EventList, StoredEvent
from controlplane.storage import callnames, dialect, tallies
from controlplane.storage.eventrow import EventRow, Source, event_row, key_of_hash
from controlplane.storage.fields import LARGEST_INTEGER
from controlplane.storage.streams import Stream, open_streams, save
from controlplane.storage.tables import PlainText, events, streams

MAXIMUM_LIMIT = 1000
ID_PATTERN = re.compile(r"(.{0,8})-([0-9]{1,19})-(?:x([0-9a-f]{12})|([0-9]{1,19}))", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What to look for; None is anything.

    id: an event's; workload: cgroup path; call: its id; after: a position, of which only later
    ones are given.
    """

    id: str | None = None
    node: str | None = None
    workload: str | None = None
    episode: str | None = None
    call: str | None = None
    policy: str | None = None
    kind: str | None = None
    decision: str | None = None
    after: int = 0
    limit: int = 100


class EventId(NamedTuple):
    """An event's id in its parts. boot: how it begins; keys: the lowest and the highest."""

    boot: str
    workload_id: int
    keys: tuple[int, int]


async def insert(
    connection: AsyncConnection, batch: Sequence[dict[str, Any]], now: float = 0.0
) -> list[dict[str, Any]]:
    """Store events; gives those that were new, in their order, as JSON can say them.

    Raises IngestError, with the place in the batch, before anything is written.
    """
    rows = [event_row(event, f"events[{index}]") for index, event in enumerate(batch)]
    found = await _streams_of(connection, rows, now)
    keys: dict[Source, list[int]] = defaultdict(list)
    for row in rows:
        keys[row.source].append(row.columns["key"])
    here = {
        source: await _present(connection, found[source], wanted) for source, wanted in keys.items()
    }
    new: list[dict[str, Any]] = []
    columns: list[dict[str, Any]] = []
    for row in rows:
        stream = found[row.source]
        key = row.columns["key"]
        if key in here[row.source] or 0 < key <= stream.floor:
            continue
        here[row.source].add(key)
        _count(stream, row)
        new.append(row.event)
        columns.append({**row.columns, "stream": stream.id, "received": now})
    if columns:
        await callnames.fill_rows(connection, columns, found.values())
        await connection.execute(events.insert(), columns)
        await tallies.add(connection, tallies.of_rows(columns))
        await save(connection, found.values(), now)
    return new


async def query(connection: AsyncConnection, wanted: EventFilter) -> EventList:
    """Events in the order of their arrival."""
    sources = await _sources(connection, wanted)
    newest = (await connection.execute(select(func.max(events.c.position)))).scalar() or 0
    found = await fetch(connection, selection(wanted, sources))
    last = found[-1].position if found else wanted.after
    # Whoever follows what is rare shall not look through all the rest again and again.
    return EventList(events=found, next=last if len(found) >= _limit(wanted) else max(last, newest))


async def _sources(connection: AsyncConnection, wanted: EventFilter) -> list[int] | None:
    """The streams that a filter leaves; None: any."""
    if wanted.id is None and wanted.workload is None:
        return None
    named = select(streams.c.id)
    if wanted.workload is not None:
        named = named.where(streams.c.workload == wanted.workload)
    if wanted.id is not None:
        name = parse_id(wanted.id)
        if name is None:
            return []
        named = named.where(
            streams.c.workload_id == name.workload_id,
            func.substr(streams.c.boot, 1, 8, type_=PlainText) == name.boot,
        )
    return list((await connection.execute(named)).scalars())


def _limit(wanted: EventFilter) -> int:
    return max(1, min(wanted.limit, MAXIMUM_LIMIT))


def selection(wanted: EventFilter, sources: Sequence[int] | None = None) -> Select[Any]:
    """The statement that finds what a filter says; sources: the streams that it leaves."""
    statement = stored_events().where(events.c.position > wanted.after)
    if sources is not None:
        # Mostly a workload is one stream, of which an index has the events in order.
        one = len(sources) == 1
        source = events.c.stream
        statement = statement.where(source == sources[0] if one else source.in_(sources))
    conditions: tuple[tuple[ColumnElement[Any], str | None], ...] = (
        # Not as the bare column: SQLite would collect all that a node ever sent, and sort it,
        # where reading on in the order of arrival soon has a page.
        (func.coalesce(streams.c.node, ""), wanted.node),
        (events.c.episode, wanted.episode),
        (events.c.call, wanted.call),
        (events.c.policy, wanted.policy),
        (events.c.kind, wanted.kind),
        (events.c.decision, wanted.decision),
    )
    for column, value in conditions:
        if value is not None:
            statement = statement.where(column == value)
    if wanted.decision not in (None, "allowed"):
        # Said in the words of the index of what is rare, or SQLite does not see that it may use it.
        statement = statement.where(text("events.decision <> 'allowed'"))
    if wanted.id is not None and (name := parse_id(wanted.id)) is not None:
        low, high = name.keys
        key = events.c.key
        statement = statement.where(key == low if low == high else key.between(low, high))
    return statement.order_by(events.c.position).limit(_limit(wanted))


def parse_id(event_id: str) -> EventId | None:
    """The parts of an id; None where no event can have it."""
    match = ID_PATTERN.fullmatch(event_id)
    if match is None:
        return None
    boot, workload, digits, sequence = match.groups()
    if max(int(workload), int(sequence or 0)) > LARGEST_INTEGER:
        return None
    if digits is None:
        return EventId(boot, int(workload), (int(sequence), int(sequence)))
    # The id shows the hash's first digits; the key holds some more.
    shift = 4 * (UNNUMBERED_DIGITS - len(digits))
    low = int(digits, 16) << shift
    high = low + (1 << shift) - 1
    return EventId(boot, int(workload), (key_of_hash(high), key_of_hash(low)))


async def get(connection: AsyncConnection, event_id: str) -> StoredEvent | None:
    """The event with this id; the first to arrive, if two boots' ids should begin alike."""
    found = await query(connection, EventFilter(id=event_id, limit=1))
    return found.events[0] if found.events else None


def stored_events() -> Select[Any]:
    """The query whose rows `fetch` takes, over `events` joined with `streams`."""
    return select(
        events.c.position, events.c.key, events.c.body, streams.c.boot, streams.c.workload_id
    ).join(streams, streams.c.id == events.c.stream)


async def fetch(connection: AsyncConnection, statement: Select[Any]) -> list[StoredEvent]:
    """The events of a query that was made from `stored_events`."""
    return [_event(row) for row in await connection.execute(statement)]


def _event(row: Row[Any]) -> StoredEvent:
    sequence = row.key if row.key > 0 else None
    return StoredEvent.model_construct(
        id=stored_event_id(row.boot, row.workload_id, sequence, -1 - row.key),
        position=row.position,
        event=json.loads(row.body),
    )


async def _streams_of(
    connection: AsyncConnection, rows: Sequence[EventRow], now: float
) -> dict[Source, Stream]:
    wanted: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for row in rows:
        wanted[row.source.node, row.source.boot][row.source.workload_id] = row.workload
    found: dict[Source, Stream] = {}
    for (node, boot), workloads in wanted.items():
        opened = await open_streams(connection, node, boot, workloads, now)
        found |= {Source(node, boot, number): stream for number, stream in opened.items()}
    return found


async def _present(connection: AsyncConnection, stream: Stream, keys: list[int]) -> set[int]:
    """Which of these keys the stream has already."""
    # Most batches go on where the last one ended: then the table need not be asked.
    asked = [key for key in keys if key <= stream.highest]
    found: set[int] = set()
    for part in dialect.parts(asked):
        statement = select(events.c.key).where(events.c.stream == stream.id, events.c.key.in_(part))
        found.update((await connection.execute(statement)).scalars())
    return found


def _count(stream: Stream, row: EventRow) -> None:
    key, path = row.columns["key"], row.workload
    if key < 0:
        # The kernel numbers its own; that it had no number for one means that more may be missing.
        stream.unnumbered += row.columns["kind"] not in AGENT_KINDS
    else:
        stream.stored += 1
        stream.highest = max(stream.highest, key)
    # A path that could not be read is given as `cgroup-ID`; a real one is better.
    if path.startswith("/") or not stream.workload.startswith("/"):
        stream.workload = path
