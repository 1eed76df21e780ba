# SPDX-License-Identifier: Apache-2.0
"""One incident is one call and class of act, or one process where no call is known."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.correlate.key import incident_key
from tests.unit.controlplane.samples import OTHER_BOOT, call_tag, make_denied

OTHER_PROCESS = {"pid": 339, "tid": 339, "uid": 0, "parent": 1, "start": 1, "comm": "python3"}


@pytest.mark.parametrize(
    ("kind", "group"),
    [
        ("connect", "egress"), ("send", "egress"), ("socket", "egress"), ("exec", "exec"),
        ("mapping", "exec"), ("device", "device"), ("escape", "escape"),
        ("exempt", "exempt"), ("fork", "other"), ("of later", "other"),
    ],
)  # fmt: skip
def test_each_kind_has_a_class(kind: str, group: str) -> None:
    assert incident_key(make_denied(kind=kind)).kind == group


@pytest.mark.parametrize(
    ("operation", "group"),
    [("signal", "guard"), ("attach", "guard"), ("read", "other"), ("module_request", "other")],
)
def test_what_ps_and_ss_do_is_no_crossing_of_weight(operation: str, group: str) -> None:
    what = {"guard": "trace", "operation": operation, "detail": None, "target": 1}
    assert incident_key(make_denied(kind="guard", object=what)).kind == group


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "send"},
        {"subject": OTHER_PROCESS},
        {"time": 1.0, "sequence": 77, "decision": "audited", "workload": "/another/name"},
        {"call": call_tag(1, id=None, episode=None, state="unknown")},
    ],
)
def test_what_one_call_did_is_one_incident(fields: dict[str, Any]) -> None:
    assert incident_key(make_denied(**fields)) == incident_key(make_denied())


@pytest.mark.parametrize(
    "fields",
    [
        {"node": "gpu-2"}, {"boot": OTHER_BOOT}, {"workload_id": 1}, {"kind": "exec"},
        {"call": call_tag(2)}, {"call": None},
    ],
)  # fmt: skip
def test_what_differs_is_another_incident(fields: dict[str, Any]) -> None:
    first, second = incident_key(make_denied()), incident_key(make_denied(**fields))
    assert first != second
    assert first.incident_id() != second.incident_id()


def test_without_a_call_the_process_and_its_start_count() -> None:
    one = incident_key(make_denied(call=None))
    other = incident_key(make_denied(call=None, subject=OTHER_PROCESS))
    unseen = incident_key(make_denied(call=None, subject={**OTHER_PROCESS, "start": None}))
    assert len({one, other, unseen}) == 3
    assert len({key.incident_id() for key in (one, other, unseen)}) == 3


def test_names_that_run_together_stay_apart() -> None:
    first = incident_key(make_denied(node="a\0b", boot="c")).incident_id()
    second = incident_key(make_denied(node="a", boot="b\0c")).incident_id()
    assert first != second


def test_an_id_is_the_same_in_every_process() -> None:
    assert incident_key(make_denied()).incident_id() == "2be4ffc7735766423dd4"
    assert incident_key(make_denied(node="\ud800")).incident_id()
