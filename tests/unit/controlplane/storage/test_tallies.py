# SPDX-License-Identifier: Apache-2.0
"""An episode's events are counted once each, when they come or when their call's record does."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.storage import episodes, retention, tables, tallies
from tests.unit.controlplane.samples import (
    OTHER_BOOT,
    call_tag,
    make_call,
    make_denied,
    make_event,
)
from tests.unit.controlplane.storage.conftest import NOW, Storage

EPISODE = "rome-0001"
UNKNOWN = {"number": 1, "id": None, "state": "unknown"}
DAY = 86_400.0


def decisions(storage: Storage, episode: str = EPISODE) -> dict[str, int]:
    return storage.read(tallies.decisions, episode)


async def rows(connection: AsyncConnection) -> int:
    return (await connection.execute(select(func.count()).select_from(tables.tallies))).scalar_one()


def test_events_are_counted_once_each(storage: Storage) -> None:
    first = [make_event(1), make_denied(2), make_event(3, call=call_tag(2, episode="other"))]
    storage.ship(first)
    storage.ship([*first, make_denied(4), make_event(5, call=None)])
    storage.ship([make_denied(1, workload_id=7)])
    assert decisions(storage) == {"allowed": 1, "denied": 3}
    assert decisions(storage, "other") == {"allowed": 1}
    assert decisions(storage, "unknown") == {}


def test_events_that_had_but_a_calls_number_count_when_its_record_comes(storage: Storage) -> None:
    storage.ship([make_event(1, call=UNKNOWN), make_denied(2, call=UNKNOWN)])
    storage.ship([make_event(1, call=UNKNOWN, boot=OTHER_BOOT)], boot=OTHER_BOOT)
    assert decisions(storage) == {}
    for _ in range(2):
        storage.ship(calls=[make_call()])
        assert decisions(storage) == {"allowed": 1, "denied": 1}
    storage.ship([make_event(3, call=UNKNOWN)], [make_call()])
    assert decisions(storage) == {"allowed": 2, "denied": 1}


def test_what_retention_removes_stays_counted_as_long_as_the_episode(storage: Storage) -> None:
    storage.ship([make_denied(1)])
    storage.ship([make_event(2)], now=NOW + 10)

    def retain(now: float) -> None:
        storage.run(retention.run(storage.database, now=now, seconds=DAY, limit=1 << 40))

    retain(NOW + DAY + 5)
    assert decisions(storage) == {"allowed": 1, "denied": 1}
    record = storage.read(episodes.get, EPISODE)
    assert record is not None
    assert record.decisions == {"allowed": 1, "denied": 1}
    assert record.completeness.statement.startswith("nothing missing of 2 events")
    retain(NOW + 3 * DAY)
    assert storage.read(rows) == 0
