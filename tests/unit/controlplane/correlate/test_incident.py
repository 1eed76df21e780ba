# SPDX-License-Identifier: Apache-2.0
"""An incident's title and severity say what matters about it."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.contract.records import Incident, Target
from controlplane.correlate.correlator import Correlator
from controlplane.correlate.incident import TARGETS_KEPT, TARGETS_SHOWN, Tally
from tests.unit.controlplane.samples import make_denied, make_exec


def incident(*events: dict[str, Any]) -> Incident:
    correlator = Correlator({})
    correlator.add_events(events)
    (found,) = correlator.changed()
    return found.record()


def connects(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Denied connects, each to another address."""
    return [
        make_denied(
            n,
            object={"protocol": "tcp", "address": f"10.{n >> 8}.{n & 255}.1", "port": 22},
            **fields,
        )
        for n in range(count)
    ]


def device(**fields: Any) -> dict[str, Any]:
    what = {"type": "char", "major": 195, "minor": 0, "class": "nvidia"}
    return make_denied(kind="device", object=what, **fields)


@pytest.mark.parametrize(
    ("events", "title", "severity"),
    [
        (connects(1), "connect to 10.0.0.1:22 denied", "medium"),
        (connects(1, decision="audited"), "connect to 10.0.0.1:22 audited", "low"),
        (connects(1) + connects(1, decision="audited"), "connect to 10.0.0.1:22 denied", "medium"),
        (connects(4), "connect to 10.0.0.1:22 and 3 more denied", "medium"),
        (connects(5), "probed 5 destinations (denied)", "high"),
        (connects(5, decision="audited"), "probed 5 destinations (audited)", "high"),
        ([make_exec(1, "/usr/bin/ssh", decision="denied")],
         "exec of /usr/bin/ssh denied", "medium"),
        ([make_exec(n, f"/bin/{n}", decision="denied") for n in range(1, 8)],
         "exec of /bin/1 and 6 more denied", "medium"),
        ([device()], "open of GPU 195:0 denied", "high"),
        ([device(decision="audited")], "open of GPU 195:0 audited", "high"),
        ([make_denied(kind="escape", object={}, decision="audited")],
         "process left its workload's cgroup", "high"),
        ([make_denied(kind="fork", object={})], "fork denied", "medium"),
    ],
)  # fmt: skip
def test_title_and_severity(events: list[dict[str, Any]], title: str, severity: str) -> None:
    found = incident(*events)
    assert (found.title, found.severity) == (title, severity)


def test_an_exemption_is_an_incident_with_its_reason() -> None:
    begun = make_denied(kind="exempt", object={"reason": "why"}, decision="audited")
    found = incident(begun)
    assert (found.kind, found.title, found.severity) == (
        "exempt", "workload exempted: why", "low",
    )  # fmt: skip
    assert (found.targets[0].text, found.audited) == ("why", 1)


def test_targets_are_the_most_frequent_first() -> None:
    found = incident(*connects(30), *connects(2), *connects(1))
    assert found.title == "probed 30 destinations (denied)"
    assert len(found.targets) == TARGETS_SHOWN
    assert found.targets[:3] == [
        Target(text="10.0.0.1:22", count=3),
        Target(text="10.0.1.1:22", count=2),
        Target(text="10.0.2.1:22", count=1),
    ]


def test_a_flood_of_targets_is_counted_and_not_kept() -> None:
    found = incident(*connects(TARGETS_KEPT + 50))
    assert found.denied == TARGETS_KEPT + 50
    assert found.title == f"probed more than {TARGETS_KEPT} destinations (denied)"
    programs = [make_exec(n, f"/bin/{n}", decision="denied") for n in range(1, TARGETS_KEPT + 9)]
    assert (
        incident(*programs).title == f"exec of /bin/1 and more than {TARGETS_KEPT - 1} more denied"
    )


def test_a_tally_keeps_counting_what_it_keeps() -> None:
    tally = Tally()
    for text in ("a", "b", "c", "a", "c"):
        tally.add(text, 2)
    assert tally.top(9) == [Target(text="a", count=2), Target(text="b", count=1)]
    assert (tally.further, tally.distinct()) == (2, "more than 2")
