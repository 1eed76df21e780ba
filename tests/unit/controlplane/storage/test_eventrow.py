# SPDX-License-Identifier: Apache-2.0
"""An event that cannot be stored is refused by the place and the fault."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.storage.eventrow import Source, event_row
from controlplane.storage.fields import IngestError
from tests.unit.controlplane.samples import BOOT, NODE, WORKLOAD, call_tag, make_denied, make_event

TOO_LARGE = 1 << 63


def changed(place: str, value: Any) -> dict[str, Any]:
    """A denied event with one field set, or taken out."""
    event = make_denied()
    *above, name = place.split(".")
    fields = event
    for part in above:
        fields[part] = dict(fields[part])
        fields = fields[part]
    if value is KeyError:
        del fields[name]
    else:
        fields[name] = value
    return event


def test_an_events_row_has_what_queries_need() -> None:
    row = event_row(make_denied(21), "events[0]")
    assert row.source == Source(NODE, BOOT, WORKLOAD)
    assert row.workload == "/lictor.slice/run-my-policy-1"
    assert row.columns["incident"]
    assert {k: v for k, v in row.columns.items() if k not in ("body", "incident", "time")} == {
        "key": 21, "kind": "connect", "decision": "denied", "policy": "my-policy", "revision": 1,
        "rule": None, "reason": "port", "attribution": "kernel", "call_number": 1,
        "call": "call_1", "episode": "rome-0001", "pid": 339, "start": 74425325064,
    }  # fmt: skip


def test_what_was_allowed_belongs_to_no_incident() -> None:
    assert event_row(make_event(), "events[0]").columns["incident"] is None


def test_an_event_without_a_sequence_is_known_by_what_it_says() -> None:
    first, again = (event_row(make_event(None), "e").columns["key"] for _ in range(2))
    other = event_row(make_event(None, time=1.0), "e").columns["key"]
    assert first == again != other
    assert first < 0


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("version", 2, "2 is not 1"),
        ("version", KeyError, "None is not 1"),
        ("time", "now", "'now' is not a time in seconds"),
        ("time", True, "True is not a time in seconds"),
        ("node", KeyError, "is missing or no text"),
        ("boot", 5, "is missing or no text"),
        ("workload", KeyError, "is missing or no text"),
        ("workload_id", TOO_LARGE, f"{TOO_LARGE} is not an integer from 0 to {TOO_LARGE - 1}"),
        ("sequence", 0, f"0 is not an integer from 1 to {TOO_LARGE - 1}"),
        ("sequence", 1.0, f"1.0 is not an integer from 1 to {TOO_LARGE - 1}"),
        ("decision", "maybe", "'maybe' is not one of allowed, denied, audited"),
        ("object", None, "is not a mapping"),
        ("subject", KeyError, "is not a mapping"),
        ("subject.pid", KeyError, f"None is not an integer from 0 to {TOO_LARGE - 1}"),
        ("subject.start", -1, f"-1 is not an integer from 0 to {TOO_LARGE - 1}"),
        ("tag", [], "is not a mapping"),
        ("tag.call", "call_1", "is not a mapping"),
        ("tag.call", {}, f"None is not an integer from 0 to {TOO_LARGE - 1}"),
        ("tag.call", call_tag(id=5), "is missing or no text"),
        ("tag.call", call_tag(step="3"), "'3' is not an integer"),
        ("tag.call", call_tag(tool=["bash"]), "is missing or no text"),
        ("rule", {}, "is missing or no text"),
        ("revision", None, f"None is not an integer from 0 to {TOO_LARGE - 1}"),
    ],
)
def test_a_fault_is_named_by_its_place(place: str, value: Any, fault: str) -> None:
    with pytest.raises(IngestError) as refused:
        event_row(changed(place, value), "events[3]")
    assert refused.value.place.startswith(f"events[3].{place}")
    assert refused.value.message.startswith(fault)
    assert str(refused.value) == f"{refused.value.place}: {refused.value.message}"


@pytest.mark.parametrize("event", [None, [], "event", 1])
def test_what_is_no_mapping_is_no_event(event: Any) -> None:
    with pytest.raises(IngestError, match=r"^events\[0\]: is not a mapping$"):
        event_row(event, "events[0]")


def test_a_fault_quotes_little_of_what_was_sent() -> None:
    with pytest.raises(IngestError) as refused:
        event_row(changed("decision", "x" * 10_000), "events[0]")
    assert len(str(refused.value)) < 200
