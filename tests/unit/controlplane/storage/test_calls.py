# SPDX-License-Identifier: Apache-2.0
"""A call's record is kept as it becomes known, and names the events that had but its number."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.storage import calls
from controlplane.storage.fields import IngestError
from tests.unit.controlplane.samples import (
    BOOT,
    NODE,
    OTHER_BOOT,
    call_tag,
    make_call,
    make_denied,
    make_event,
)
from tests.unit.controlplane.storage.conftest import NOW, Storage

UNKNOWN = {"number": 1, "id": None, "episode": None, "step": None, "tool": None, "state": "unknown"}


def test_a_call_comes_back_as_it_was_recorded(storage: Storage) -> None:
    call = make_call(arguments={"cmd": ["ls", "-l"], "n": 1.5, "none": None}, ended=NOW)
    storage.ship(calls=[call])
    assert storage.read(calls.query) == [call]
    assert storage.read(calls.by_number, NODE, BOOT, [1, 2]) == [call]
    assert storage.read(calls.by_number, NODE, OTHER_BOOT, [1]) == []


def test_an_end_that_is_known_stays_known(storage: Storage) -> None:
    begun, ended = make_call(), make_call(ended=NOW, ending="ended")
    for record in (begun, ended, begun):
        storage.ship(calls=[record])
        storage.ship(calls=[record, record])
    assert storage.read(calls.query) == [ended]


def test_calls_are_found_by_episode_and_by_id_newest_first(storage: Storage) -> None:
    sent = [
        make_call(n, episode="even" if n % 2 == 0 else None, started=float(n)) for n in (2, 1, 4)
    ]
    storage.ship(calls=sent)
    assert [c.number for c in storage.read(calls.query)] == [4, 2, 1]
    assert [c.number for c in storage.read(calls.query, episode="even")] == [4, 2]
    assert [c.number for c in storage.read(calls.query, id="call_1")] == [1]
    assert [c.number for c in storage.read(calls.query, limit=1)] == [4]


@pytest.mark.parametrize("arguments", ["\0", "\ud800", float("inf"), [[[]]], "🙂" * 1000, None, 1])
def test_a_model_may_give_any_arguments(storage: Storage, arguments: Any) -> None:
    storage.ship(calls=[make_call(arguments=arguments)])
    (found,) = storage.read(calls.query)
    found.model_dump_json().encode("utf-8")


@pytest.mark.parametrize(
    ("field", "value"),
    [("number", 1 << 63), ("workload", -1), ("step", 1 << 63), ("started", float("nan"))],
)
def test_a_number_that_no_column_holds_is_refused(storage: Storage, field: str, value: Any) -> None:
    with pytest.raises(IngestError, match=rf"^calls\[1\]\.{field}: "):
        storage.ship([make_event(1)], [make_call(), make_call(2).model_copy(update={field: value})])
    assert storage.read(calls.query) == []
    assert storage.ids() == []


@pytest.mark.parametrize("order", ["record first", "event first", "together"])
def test_an_event_that_has_but_a_number_joins_its_call(storage: Storage, order: str) -> None:
    unnamed = make_denied(1, call=UNKNOWN)
    match order:
        case "record first":
            storage.ship(calls=[make_call()])
            storage.ship([unnamed])
        case "event first":
            storage.ship([unnamed])
            assert storage.ids(call="call_1") == []
            storage.ship(calls=[make_call()])
        case _:
            storage.ship([unnamed], [make_call()])
    assert len(storage.ids(call="call_1")) == 1
    assert len(storage.ids(episode="rome-0001")) == 1


def test_a_number_is_one_boots_and_one_nodes(storage: Storage) -> None:
    storage.ship([make_event(1, call=UNKNOWN)])
    storage.ship(calls=[make_call(boot=OTHER_BOOT)], boot=OTHER_BOOT)
    storage.ship(calls=[make_call(node="gpu-2")], node="gpu-2")
    assert storage.ids(call="call_1") == []


def test_a_record_does_not_rename_what_an_event_says_itself(storage: Storage) -> None:
    storage.ship([make_event(1, call=call_tag(1, id="told by the kernel's tag"))])
    storage.ship(calls=[make_call()])
    assert len(storage.ids(call="told by the kernel's tag")) == 1
    assert storage.ids(call="call_1") == []
