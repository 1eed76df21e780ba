# SPDX-License-Identifier: Apache-2.0
"""Incidents grow with their events and stay as people judged them."""

from __future__ import annotations

from typing import Any

from controlplane.contract.records import Incident, IncidentChange
from controlplane.storage import incidents
from tests.unit.controlplane.samples import call_tag, make_call, make_denied, make_event, make_exec
from tests.unit.controlplane.storage.conftest import NOW, Storage


def only(storage: Storage) -> Incident:
    (found,) = storage.read(incidents.query)
    return found


def change(storage: Storage, name: str, **fields: Any) -> Incident | None:
    return storage.write(incidents.change, name, IncidentChange(**fields), NOW)


def test_an_incident_goes_on_over_batches(storage: Storage) -> None:
    storage.ship([make_denied(4)])
    storage.ship(
        [make_denied(6, object={"address": "198.51.100.7", "port": 22, "protocol": "tcp"})]
    )
    storage.ship([make_denied(5)])
    found = only(storage)
    assert (found.denied, found.first_event) == (3, "b656d6bf-1613-4")
    assert [(t.text, t.count) for t in found.targets] == [
        ("10.20.0.15:80", 2), ("198.51.100.7:22", 1),
    ]  # fmt: skip
    assert (found.title, found.severity) == ("connect to 10.20.0.15:80 and 1 more denied", "medium")


def test_what_was_allowed_makes_no_incident(storage: Storage) -> None:
    storage.ship([make_event(1), make_exec(2)])
    assert storage.read(incidents.query) == []


def test_a_judgement_survives_new_events(storage: Storage) -> None:
    storage.ship([make_denied(1)])
    name = only(storage).id
    for state in ("acknowledged", "false-positive"):
        changed = change(storage, name, state=state, note="known\0 test")
        assert changed is not None
        storage.ship([make_denied(len(state))])
        assert (only(storage).state, only(storage).note) == (state, "known\\x00 test")
    assert only(storage).denied == 3


def test_what_is_left_out_of_a_change_stays(storage: Storage) -> None:
    storage.ship([make_denied(1)])
    name = only(storage).id
    change(storage, name, note="seen")
    changed = change(storage, name, state="acknowledged")
    assert changed is not None
    assert (changed.state, changed.note) == ("acknowledged", "seen")
    assert changed == only(storage)
    assert change(storage, "unknown", state="open") is None


def test_incidents_are_found_by_state_and_episode_latest_first(storage: Storage) -> None:
    storage.ship([make_denied(1), make_denied(3, call=call_tag(2, episode="other")),
                  make_denied(2, call=None)])  # fmt: skip
    by_call = {i.call: i.id for i in storage.read(incidents.query)}
    assert list(by_call) == ["call_2", None, "call_1"]
    change(storage, by_call["call_1"], state="acknowledged")
    found = storage.read(incidents.query, state="acknowledged")
    assert [i.call for i in found] == ["call_1"]
    assert [i.call for i in storage.read(incidents.query, episode="other")] == ["call_2"]
    assert [i.call for i in storage.read(incidents.query, state="open", limit=1)] == ["call_2"]


def test_the_detail_has_the_call_its_events_and_what_followed(storage: Storage) -> None:
    call = make_call(ended=NOW, ending="ended")
    storage.ship(
        [
            make_exec(1, "/usr/bin/before"),
            make_denied(2),
            make_exec(3, "/usr/bin/after"),
            make_denied(4),
            make_exec(5, "/usr/bin/other", call=call_tag(2)),
            make_exec(6, "/usr/bin/denied", decision="denied"),
        ],
        [call],
    )
    name = next(i.id for i in storage.read(incidents.query) if i.kind == "egress")
    detail = storage.read(incidents.get, name)
    assert detail is not None
    assert detail.call == call
    assert [e.event["sequence"] for e in detail.events] == [2, 4]
    assert [e.event["sequence"] for e in detail.followed] == [3, 6]
    assert storage.read(incidents.get, "unknown") is None
    assert storage.read(incidents.get, "\ud800") is None


def test_without_a_call_it_is_the_process_that_is_followed(storage: Storage) -> None:
    other = {"pid": 7, "tid": 7, "uid": 0, "parent": 1, "start": 5, "comm": "other"}
    denied, followed = make_denied(1, call=None), make_event(2, call=None)
    storage.ship([denied, followed, make_event(3, call=None, subject=other), make_event(4)])
    detail = storage.read(incidents.get, only(storage).id)
    assert detail is not None
    assert detail.call is None
    assert [e.event["sequence"] for e in detail.followed] == [2, 4]


def test_an_incident_gets_its_calls_name_when_the_record_comes(storage: Storage) -> None:
    unknown = {"number": 1, "id": None, "state": "unknown"}
    storage.ship([make_denied(1, call=unknown)])
    assert (only(storage).call, only(storage).episode) == (None, None)
    storage.ship(calls=[make_call(tool="bash")])
    found = only(storage)
    assert (found.call, found.episode, found.step, found.tool) == ("call_1", "rome-0001", 3, "bash")
    assert storage.read(incidents.query, episode="rome-0001") == [found]


def test_an_incident_knows_a_call_that_was_recorded_before(storage: Storage) -> None:
    storage.ship(calls=[make_call()])
    storage.ship([make_denied(1, call={"number": 1, "id": None, "state": "unknown"})])
    assert only(storage).call == "call_1"
