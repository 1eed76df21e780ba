# SPDX-License-Identifier: Apache-2.0
"""What goes by age or size is counted, never taken again, and never hides what was lost."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import true

from controlplane.contract.records import EpisodeBinding
from controlplane.storage import calls, dialect, episodes, incidents, retention, streams
from controlplane.storage.retention import Removed
from tests.unit.controlplane.samples import call_tag, make_call, make_denied, make_event
from tests.unit.controlplane.storage.conftest import NOW, Storage

DAY = 86_400.0
ROOM = 1 << 40


def run(storage: Storage, now: float, limit: int = ROOM) -> Removed:
    return storage.run(retention.run(storage.database, now=now, seconds=DAY, limit=limit))


def sequences(storage: Storage) -> list[int | None]:
    return [int(name.rsplit("-")[-1]) for name in storage.ids(limit=1000)]


def statement(storage: Storage) -> str:
    found = storage.read(streams.matching, true())
    return streams.completeness(found).statement


def numbered(first: int, last: int, **fields: Any) -> list[dict[str, Any]]:
    return [make_event(number, **fields) for number in range(first, last + 1)]


def test_what_is_older_than_the_age_goes_and_the_rest_stays(storage: Storage) -> None:
    storage.ship(numbered(1, 5), now=NOW)
    storage.ship(numbered(6, 9), now=NOW + 10)
    assert run(storage, NOW + DAY) == Removed()
    assert run(storage, NOW + DAY + 5).events == 5
    assert sequences(storage) == [6, 7, 8, 9]
    assert statement(storage) == (
        "nothing missing of 9 events; events that came and went since by age or size: 5"
    )


def test_more_than_one_chunk_goes(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK", 10)
    storage.ship(numbered(1, 95) + [make_event(None, time=float(n)) for n in range(25)])
    storage.ship(numbered(96, 99), now=NOW + DAY)
    assert run(storage, NOW + DAY + 1).events == 120
    assert sequences(storage) == [96, 97, 98, 99]


def test_age_is_by_arrival_and_not_by_the_nodes_clock(storage: Storage) -> None:
    storage.ship([make_event(1, time=5.0), make_event(2, time=1e300)])
    assert run(storage, NOW + 60) == Removed()
    assert run(storage, NOW + DAY + 1).events == 2


def test_what_went_is_not_taken_again(storage: Storage) -> None:
    storage.ship(numbered(1, 5))
    storage.ship(numbered(6, 6), now=NOW + DAY)
    run(storage, NOW + DAY + 1)
    result = storage.ship(numbered(1, 7), now=NOW + DAY + 2)
    assert (result.accepted, result.duplicates) == (1, 6)
    assert sequences(storage) == [6, 7]
    assert "nothing missing of 7" in statement(storage)


def test_what_was_missing_stays_missing(storage: Storage) -> None:
    storage.ship(numbered(1, 3) + numbered(5, 6))
    run(storage, NOW + DAY + 1)
    assert statement(storage).startswith("1 of 6 events missing")
    storage.ship(numbered(4, 8), now=NOW + DAY + 2)
    assert statement(storage).startswith("1 of 8 events missing")


def test_a_low_number_that_came_late_goes_with_the_high_one(storage: Storage) -> None:
    storage.ship(numbered(5, 6))
    storage.ship(numbered(1, 4) + numbered(7, 8), now=NOW + 10)
    assert run(storage, NOW + DAY + 5).events == 6
    assert sequences(storage) == [7, 8]
    assert "nothing missing of 8" in statement(storage)


def test_calls_incidents_and_episodes_go_by_age_too(storage: Storage) -> None:
    old, new = call_tag(1, episode="old"), call_tag(2, episode="new")
    storage.ship([make_denied(1, call=old)], [make_call(1, episode="old")])
    storage.write(episodes.put, "bound", EpisodeBinding(), NOW)
    storage.ship([make_denied(2, call=new)], [make_call(2, episode="new")], now=NOW + 10)
    removed = run(storage, NOW + DAY + 5)
    assert removed == Removed(events=1, calls=1, incidents=1, episodes=2)
    assert [c.id for c in storage.read(calls.query)] == ["call_2"]
    assert [i.call for i in storage.read(incidents.query)] == ["call_2"]
    assert [e.id for e in storage.read(episodes.all)] == ["new"]


def test_an_incident_that_goes_on_stays(storage: Storage) -> None:
    storage.ship([make_denied(1)])
    storage.ship([make_denied(2)], now=NOW + 10)
    run(storage, NOW + DAY + 5)
    (found,) = storage.read(incidents.query)
    assert found.denied == 2


def test_a_workload_of_which_nothing_is_left_is_forgotten(storage: Storage) -> None:
    storage.ship(numbered(1, 2))
    storage.ship(numbered(1, 2, workload_id=7), now=NOW + 10)
    run(storage, NOW + DAY + 5)
    assert len(storage.read(streams.matching, true())) == 2
    run(storage, NOW + 3 * DAY)
    run(storage, NOW + 5 * DAY)
    assert storage.read(streams.matching, true()) == []


def test_the_oldest_go_until_the_size_is_kept(storage: Storage) -> None:
    path = "x" * 2000
    for batch in range(10):
        first = 1 + batch * 1000
        storage.ship(numbered(first, first + 999, workload=path), now=NOW + batch)
    used = storage.read(dialect.room).used
    limit = used // 2
    removed = run(storage, NOW + 10, limit)
    assert 4000 <= removed.events <= 7000
    assert storage.read(dialect.room).used <= limit
    left = sequences(storage)
    assert left[0] == removed.events + 1
    assert len(storage.ids(limit=1000)) == 1000
    assert "nothing missing of 10000" in statement(storage)


def test_calls_go_with_the_events_of_their_time(storage: Storage) -> None:
    for number in range(1, 41):
        records = [make_call(number, arguments="x" * 100_000, ended=NOW)]
        storage.ship([make_event(number)], records, now=NOW + number)
    limit = storage.read(dialect.room).used // 2
    storage.ship(numbered(41, 4000), now=NOW + 50)
    removed = run(storage, NOW + 60, limit)
    assert removed.calls == 40
    assert storage.read(dialect.room).used <= limit


def test_calls_alone_keep_the_size_too(storage: Storage) -> None:
    storage.ship(calls=[make_call(n, arguments="x" * 100_000) for n in range(1, 21)])
    removed = run(storage, NOW, 500_000)
    assert removed.calls == 20


def test_a_limit_below_the_empty_database_ends(storage: Storage) -> None:
    storage.ship(numbered(1, 3))
    assert run(storage, NOW, 0).events == 3
    assert run(storage, NOW, 0) == Removed()


def test_free_room_goes_back_to_the_file_system(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SLACK_BYTES", 100_000)
    monkeypatch.setattr(retention, "PAGES_AT_ONCE", 50)
    storage.ship(numbered(1, 1000, workload="x" * 2000))
    run(storage, NOW + DAY + 1)
    room = storage.read(dialect.room)
    assert room.free <= 100_000
    assert room.used < 500_000
