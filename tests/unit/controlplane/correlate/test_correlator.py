# SPDX-License-Identifier: Apache-2.0
"""Incidents come out the same in whatever order, and in however many parts, events go in."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.contract.records import Incident
from controlplane.correlate.correlator import Correlator, keys_of
from controlplane.correlate.incident import KnownIncident
from controlplane.correlate.key import IncidentKey
from tests.unit.controlplane.samples import (
    OTHER_BOOT,
    call_tag,
    make_call,
    make_denied,
    make_event,
    make_exec,
)

Known = dict[IncidentKey, KnownIncident]
UNKNOWN = {"number": 1, "id": None, "state": "unknown"}


def correlate(known: Known, *events: dict[str, Any], calls: Any = ()) -> Known:
    """Incidents after some more events, as the storage would keep them."""
    needed = {key: copy.deepcopy(known[key]) for key in keys_of(events) if key in known}
    if calls:
        needed = copy.deepcopy(known)
    correlator = Correlator(needed)
    correlator.add_events(events)
    correlator.add_calls(calls)
    return {**known, **{incident.key: incident for incident in correlator.changed()}}


def only(known: Known) -> Incident:
    (found,) = known.values()
    return found.record()


def told(known: Known) -> list[dict[str, Any]]:
    """All that is said of incidents, but for the order of equals."""
    said = [incident.record().model_dump() for incident in known.values()]
    for incident in said:
        for name in ("targets", "rules"):
            incident[name] = sorted(incident[name], key=lambda target: str(target["text"]))
    return sorted(said, key=lambda incident: str(incident["id"]))


def attempts() -> list[dict[str, Any]]:
    """Events of three calls and a process without one, some of the same moment."""
    made: list[dict[str, Any]] = []
    for number in range(1, 25):
        call = [call_tag(1), call_tag(2), None, UNKNOWN][number % 4]
        fields: dict[str, Any] = {"call": call, "time": float(number // 3)}
        if number % 5 == 0:
            made.append(make_event(number, **fields))
        elif number % 3 == 0:
            made.append(make_exec(number, f"/bin/{number}", decision="audited", **fields))
        else:
            what = {"protocol": "tcp", "address": f"10.0.0.{number % 7}", "port": 22}
            made.append(make_denied(number, object=what, **fields))
    return made


@settings(deadline=None)  # how long it takes depends on what else the machine does
@given(st.permutations(attempts()), st.lists(st.integers(1, 8), min_size=24, max_size=24))
def test_order_and_division_change_nothing(events: list[dict[str, Any]], sizes: list[int]) -> None:
    known: Known = {}
    while events:
        size = sizes.pop()
        known = correlate(known, *events[:size])
        events = events[size:]
    assert told(known) == told(correlate({}, *attempts()))


def test_what_was_allowed_is_no_incident() -> None:
    assert correlate({}, make_event(1), make_exec(2)) == {}
    assert keys_of([make_event(1)]) == set()


def test_an_incident_says_who_did_what_when() -> None:
    found = only(correlate({}, make_denied(9), make_denied(4), make_denied(6, decision="audited")))
    assert (found.denied, found.audited) == (2, 1)
    assert (found.first, found.last) == (make_denied(4)["time"], make_denied(9)["time"])
    assert found.first_event == "b656d6bf-1613-4"
    assert found.subject == "python3 (pid 339, uid 0)"
    assert (found.call, found.episode, found.step, found.tool) == (
        "call_1",
        "rome-0001",
        3,
        "shell",
    )
    assert (found.state, found.attribution) == ("open", "kernel")
    assert [(r.text, r.count) for r in found.rules] == [("my-policy#1: port", 3)]


def test_of_one_moment_the_lower_number_is_the_first() -> None:
    found = only(correlate({}, make_denied(9, time=1.0), make_denied(4, time=1.0)))
    assert found.first_event == "b656d6bf-1613-4"


def test_an_earlier_event_that_comes_late_leads_the_title() -> None:
    late = make_denied(1, kind="send", object={"protocol": "udp", "address": "::1", "port": 53})
    known = correlate(correlate({}, make_denied(5)), late)
    assert only(known).title == "send to [::1]:53/udp and 1 more denied"


def test_what_did_not_change_is_not_given_back() -> None:
    known = correlate({}, make_denied(1), make_denied(1, call=None))
    correlator = Correlator(known)
    correlator.add_events([make_event(2), make_denied(3)])
    assert [incident.call for incident in correlator.changed()] == ["call_1"]


@pytest.mark.parametrize("state", ["acknowledged", "false-positive"])
def test_a_judgement_holds_for_what_comes_after_it(state: Any) -> None:
    known = correlate({}, make_denied(1))
    for incident in known.values():
        incident.state, incident.note = state, "seen"
    new_target = make_denied(2, object={"protocol": "tcp", "address": "10.9.9.9", "port": 1})
    found = only(correlate(known, new_target))
    assert (found.state, found.note, found.denied) == (state, "seen", 2)


@pytest.mark.parametrize(
    ("levels", "shown"),
    [
        (["kernel", "kernel"], "kernel"), (["kernel", "entry"], "entry"),
        (["window", "entry"], "window"), (["none", "kernel"], "none"),
        (["kernel", "of later"], "of later"),
    ],
)  # fmt: skip
def test_an_incident_is_as_certain_as_its_weakest_event(levels: list[str], shown: str) -> None:
    events = [make_denied(n, attribution=level) for n, level in enumerate(levels, 1)]
    assert only(correlate({}, *events)).attribution == shown


def test_a_calls_record_names_an_incident_that_has_but_a_number() -> None:
    known = correlate({}, make_denied(1, call=UNKNOWN))
    assert only(known).call is None
    elsewhere = correlate(known, calls=[make_call(boot=OTHER_BOOT), make_call(2)])
    assert only(elsewhere).call is None
    found = only(correlate(known, calls=[make_call(tool="bash")]))
    assert (found.call, found.episode, found.tool) == ("call_1", "rome-0001", "bash")


def test_a_name_that_is_known_stays() -> None:
    known = correlate({}, make_denied(1))
    assert only(correlate(known, calls=[make_call(id="another")])).call == "call_1"


def test_calls_that_still_have_no_name_are_told() -> None:
    correlator = Correlator({})
    correlator.add_events([make_denied(1, call=UNKNOWN), make_denied(2, call=call_tag(2)),
                           make_denied(3, call=None)])  # fmt: skip
    assert correlator.unnamed_calls() == {1}
