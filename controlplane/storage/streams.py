# SPDX-License-Identifier: Apache-2.0
"""Workloads in one boot of one node: where sequence numbers count, and what is missing of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from controlplane.contract.records import Completeness, WorkloadReport
from controlplane.storage import dialect
from controlplane.storage.tables import streams

COUNTS = ("highest", "reported", "stored", "removed", "floor", "unnumbered")


@dataclass(slots=True)
class Stream:
    """A row of the table. Fields: see `tables.streams`."""

    id: int
    node: str
    boot: str
    workload_id: int
    workload: str
    highest: int = 0
    reported: int = 0
    stored: int = 0
    removed: int = 0
    floor: int = 0
    unnumbered: int = 0


async def open_streams(
    connection: AsyncConnection,
    node: str,
    boot: str,
    workloads: dict[int, str],
    now: float,
) -> dict[int, Stream]:
    """The streams of these workloads (id -> path), locked and made if need be, by workload id."""
    found = await _locked(connection, node, boot, workloads)
    new = [number for number in workloads if number not in found]
    rows = [
        {
            **dict.fromkeys(COUNTS, 0),
            "node": node,
            "boot": boot,
            "workload_id": number,
            "workload": workloads[number],
            "updated": now,
        }
        for number in new
    ]
    if new:
        await connection.execute(streams.insert(), rows)
        found |= await _locked(connection, node, boot, new)
    return found


async def save(connection: AsyncConnection, changed: Collection[Stream], now: float) -> None:
    """Write streams' counts and paths back."""
    if not changed:
        return
    names = ("workload", *COUNTS)
    statement = (
        update(streams)
        .where(streams.c.id == bindparam("stream"))
        .values({**{name: bindparam(name) for name in names}, "updated": now})
    )
    rows = [{"stream": s.id, **{name: getattr(s, name) for name in names}} for s in changed]
    await connection.execute(statement, rows)


async def learn_counts(
    connection: AsyncConnection,
    node: str,
    boot: str,
    reports: Collection[WorkloadReport],
    now: float,
) -> None:
    """Remember how many events the kernel counted, so that the newest's loss shows, too."""
    counted = {report.id: report for report in reports if report.events > 0}
    if not counted:
        return
    paths = {number: report.path for number, report in counted.items()}
    known = await open_streams(connection, node, boot, paths, now)
    changed: list[Stream] = []
    for number, stream in known.items():
        if counted[number].events > stream.reported or stream.workload != paths[number]:
            stream.reported = max(stream.reported, counted[number].events)
            stream.workload = paths[number]
            changed.append(stream)
    await save(connection, changed, now)


async def matching(connection: AsyncConnection, condition: ColumnElement[bool]) -> list[Stream]:
    """Streams by a condition on the table's columns."""
    query = select(streams).where(condition)
    return [_stream(row) for row in await connection.execute(query)]


def completeness(found: Collection[Stream]) -> Completeness:
    """Whether anything is missing of these streams' events. What retention removed is not."""
    if not found:
        return Completeness(
            complete=False,
            events=0,
            missing=0,
            statement="not known: nothing has come from its workloads",
        )
    total = sum(max(stream.highest, stream.reported) for stream in found)
    removed = sum(stream.removed for stream in found)
    missing = total - removed - sum(stream.stored for stream in found)
    newest = total - sum(stream.highest for stream in found)
    unnumbered = sum(stream.unnumbered for stream in found)
    if missing:
        parts = [f"{missing} of {total} events missing"]
    elif unnumbered:
        parts = ["not known"]
    else:
        parts = [f"nothing missing of {total} events"]
    if newest:
        parts.append(f"{newest} of them the newest, which may still be on their way")
    if unnumbered:
        parts.append(f"events that have no number, of which some may be missing: {unnumbered}")
    if removed:
        parts.append(f"events that came and went since by age or size: {removed}")
    return Completeness(
        complete=not missing and not unnumbered,
        events=total - missing + unnumbered,
        missing=missing,
        statement="; ".join(parts),
    )


async def _locked(
    connection: AsyncConnection, node: str, boot: str, numbers: Collection[int]
) -> dict[int, Stream]:
    found: dict[int, Stream] = {}
    for part in dialect.parts(numbers):
        query = (
            select(streams)
            .where(
                streams.c.node == node,
                streams.c.boot == boot,
                streams.c.workload_id.in_(part),
            )
            # Two writers of one workload would count it twice; SQLite has one writer anyway.
            .with_for_update()
        )
        for row in await connection.execute(query):
            found[row.workload_id] = _stream(row)
    return found


def _stream(row: Row[Any]) -> Stream:
    return Stream(**{name: getattr(row, name) for name in Stream.__slots__})
