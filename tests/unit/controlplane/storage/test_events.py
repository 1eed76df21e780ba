# SPDX-License-Identifier: Apache-2.0
"""Events are kept once each, found by what they are about, and given back as they were."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.event import event_id
from controlplane.storage import events
from controlplane.storage.events import EventFilter
from tests.unit.controlplane.samples import (
    NODE,
    OTHER_BOOT,
    call_tag,
    make_denied,
    make_event,
    make_exec,
)
from tests.unit.controlplane.storage.conftest import NOW, Storage

HOSTILE = [
    "with \0 NUL",
    "lone \ud800 surrogate",
    "byte \udcff",
    "\u202egnp.exe \u2028 \x1b]0;title\x07",
    "'; DROP TABLE events; --",
    "x" * 100_000,
    "%s %(a)s :name ?",
]


def insert(storage: Storage, *batch: dict[str, Any]) -> list[dict[str, Any]]:
    return storage.write(events.insert, batch, NOW)


def test_an_event_comes_back_as_it_went_in(storage: Storage) -> None:
    sent = [make_event(1), make_denied(2, rule=None), make_exec(3, "/usr/bin/Grüße 🙂")]
    assert insert(storage, *sent) == sent
    assert [e.event for e in storage.read(events.query, EventFilter()).events] == sent


def test_what_was_there_already_is_not_new(storage: Storage) -> None:
    sent = [make_event(number) for number in (5, 1, 3)]
    assert insert(storage, *sent) == sent
    more = [make_event(number) for number in (1, 2, 2, 3, 6)]
    assert [e["sequence"] for e in insert(storage, *more)] == [2, 6]
    assert insert(storage, *sent, *more) == []
    assert len(storage.ids()) == 5


def test_the_same_number_elsewhere_is_another_event(storage: Storage) -> None:
    sent = [
        make_event(1),
        make_event(1, boot=OTHER_BOOT),
        make_event(1, node="gpu-2"),
        make_event(1, workload_id=99),
    ]
    assert insert(storage, *sent) == sent
    assert insert(storage, *sent) == []


def test_events_without_a_number_are_told_apart_by_what_they_say(storage: Storage) -> None:
    sent = [make_event(None, time=1.0), make_event(None, time=2.0)]
    assert insert(storage, *sent, *sent) == sent
    assert insert(storage, *sent) == []


def test_positions_grow_with_arrival_and_are_never_given_again(storage: Storage) -> None:
    insert(storage, make_event(9))
    insert(storage, make_event(1), make_event(2))
    first = storage.read(events.query, EventFilter(limit=2))
    assert [e.event["sequence"] for e in first.events] == [9, 1]
    second = storage.read(events.query, EventFilter(after=first.next))
    assert [e.event["sequence"] for e in second.events] == [2]
    end = storage.read(events.query, EventFilter(after=second.next))
    assert (end.events, end.next) == ([], second.next)

    async def empty(connection: AsyncConnection) -> None:
        await connection.execute(text("DELETE FROM events"))

    storage.write(empty)
    assert storage.read(events.query, EventFilter(after=second.next)).next == second.next
    insert(storage, make_event(10))
    assert storage.read(events.query, EventFilter(after=second.next)).events


def test_a_page_that_is_not_full_ends_behind_all_that_there_is(storage: Storage) -> None:
    insert(storage, make_event(1), make_exec(2), make_event(3))
    last = storage.read(events.query, EventFilter()).next
    assert storage.read(events.query, EventFilter(kind="exec")).next == last
    assert storage.read(events.query, EventFilter(kind="exec", limit=1)).next < last
    assert storage.read(events.query, EventFilter(kind="none")).next == last
    assert storage.read(events.query, EventFilter(kind="none", after=last + 9)).next == last + 9


@pytest.mark.parametrize(
    ("wanted", "sequences"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"node": "gpu-2"}, [6]),
        ({"workload": "/rl.slice/a"}, [4]),
        ({"episode": "other"}, [3]),
        ({"call": "call_2"}, [2, 3]),
        ({"policy": "strict"}, [5]),
        ({"kind": "exec"}, [2]),
        ({"decision": "denied"}, [3, 5]),
        ({"decision": "audited"}, [4]),
        ({"decision": "allowed"}, [1, 2, 6]),
        ({"decision": "denied", "call": "call_2", "episode": "other", "node": NODE}, [3]),
        ({"decision": "denied", "kind": "exec"}, []),
        ({"id": "b656d6bf-1613-3"}, [3]),
        ({"id": "b656d6bf-1613-3", "kind": "exec"}, []),
        ({"id": "b656d6bf-1613-3", "workload": "/rl.slice/a"}, []),
        ({"id": "b656d6bf-2-4", "workload": "/rl.slice/a"}, [4]),
        ({"id": "b656d6bf-1613-7"}, []),
        ({"id": "nonsense"}, []),
        ({"limit": 2}, [1, 2]),
        ({"limit": 0}, [1]),
        ({"episode": "x' OR '1'='1"}, []),
        ({"episode": "\ud800"}, []),
    ],
)
def test_a_filter_finds_what_it_says(
    storage: Storage, wanted: dict[str, Any], sequences: list[int]
) -> None:
    insert(
        storage,
        make_event(1),
        make_exec(2, call=call_tag(2)),
        make_denied(3, call=call_tag(2, episode="other")),
        make_denied(4, decision="audited", workload="/rl.slice/a", workload_id=2),
        make_denied(5, policy="strict", call=None),
        make_event(6, node="gpu-2", call=None),
    )
    found = storage.read(events.query, EventFilter(**wanted)).events
    assert [e.event["sequence"] for e in found] == sequences


def test_a_page_has_at_most_a_thousand(storage: Storage) -> None:
    insert(storage, *(make_event(number) for number in range(1, 1202)))
    assert len(storage.ids(limit=5000)) == 1000


@pytest.mark.parametrize(
    ("wanted", "sources", "index"),
    [
        (EventFilter(), None, "INTEGER PRIMARY KEY"),
        (EventFilter(node="n"), None, "INTEGER PRIMARY KEY"),
        (EventFilter(workload="w"), [1], "ix_events_stream"),
        (EventFilter(id="b656d6bf-1-2"), [1], "(stream=? AND key=?"),
        (EventFilter(episode="e", node="n"), None, "ix_events_episode"),
        (EventFilter(call="c"), None, "ix_events_call"),
        (EventFilter(decision="denied", node="n"), None, "ix_events_decision"),
    ],
)
def test_what_people_ask_for_most_is_found_by_an_index(
    storage: Storage, wanted: EventFilter, sources: list[int] | None, index: str
) -> None:
    plans: list[str] = []

    async def explained(connection: AsyncConnection) -> None:
        statement = events.selection(wanted, sources).compile(connection.sync_connection)
        values = tuple(statement.params[name] for name in statement.positiontup or ())
        result = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        plans.extend(str(row[-1]) for row in result)

    storage.read(explained)
    assert any("events" in plan and index in plan for plan in plans), plans
    assert not any("TEMP B-TREE" in plan for plan in plans), plans


@pytest.mark.parametrize("sequence", [1, (1 << 63) - 1, None])
def test_an_event_is_found_by_its_id(storage: Storage, sequence: int | None) -> None:
    event = make_event(sequence)
    insert(storage, make_event(7), make_event(None, time=5.0), event)
    (stored,) = [e for e in storage.read(events.query, EventFilter()).events if e.event == event]
    assert stored.id == event_id(event)
    assert storage.read(events.get, stored.id) == stored


@pytest.mark.parametrize(
    "name",
    [
        "", "-", "b656d6bf-1613-2", "b656d6bf-1614-1", "00000000-1613-1", "b656d6bf-1613-x",
        "b656d6bf-1613-x000000000000", "b656d6bf-1613-x00000000000g", "b656d6bf-1613--1",
        "b656d6bf-1613-9999999999999999999", "b656d6bf-9999999999999999999-1", "\0-\ud800-1",
        "\ud800-1-1",
    ],
)  # fmt: skip
def test_an_id_that_names_nothing_finds_nothing(storage: Storage, name: str) -> None:
    insert(storage, make_event(1))
    assert storage.read(events.get, name) is None


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("sequence", [1, None])
def test_hostile_text_is_stored_found_and_told_once(
    storage: Storage, value: str, sequence: int | None
) -> None:
    event = make_exec(
        1,
        value,
        workload=value,
        policy=value,
        rule=value,
        reason=value,
        decision="denied",
        call=call_tag(id=value, episode=value, tool=value),
        subject={"pid": 1, "uid": 0, "start": 2, "comm": value},
    )
    event["sequence"] = sequence
    assert storage.ship([event]).accepted == 1
    assert storage.ship([event]).duplicates == 1
    for wanted in (
        EventFilter(episode=value),
        EventFilter(call=value),
        EventFilter(workload=value),
        EventFilter(policy=value),
    ):
        (found,) = storage.read(events.query, wanted).events
        found.model_dump_json().encode("utf-8")
        assert storage.read(events.get, found.id) == found
        assert found.id == event_id(found.event)


def test_values_that_json_cannot_say_do_not_stop_what_follows(storage: Storage) -> None:
    deep: Any = "end"
    for _ in range(5000):
        deep = [deep]
    odd = {"nan": float("nan"), "bytes": b"\xff", "deep": deep, 5: "key"}
    insert(storage, make_event(1, object=odd), make_event(2))
    assert len(insert(storage, *[make_event(None, object=odd)] * 2)) == 1
    first, second, _ = storage.read(events.query, EventFilter()).events
    assert first.event["object"]["nan"] == "nan"
    assert first.event["object"]["bytes"] == "\\xff"
    assert second.event["sequence"] == 2
    first.model_dump_json()


def test_a_path_that_was_read_later_names_the_whole_workload(storage: Storage) -> None:
    insert(storage, make_event(1, workload="cgroup-1613"))
    insert(storage, make_event(2, workload="/rl.slice/a"))
    insert(storage, make_event(3, workload="cgroup-1613"))
    assert len(storage.ids(workload="/rl.slice/a")) == 3


def test_nothing_of_a_batch_is_stored_if_one_event_is_bad(storage: Storage) -> None:
    bad = make_event(2)
    del bad["subject"]
    with pytest.raises(ValueError, match=r"events\[1\].subject: is not a mapping"):
        storage.ship([make_event(1), bad, make_event(3)])
    assert storage.ids() == []
