# SPDX-License-Identifier: Apache-2.0
"""Nodes are as they last reported."""

from __future__ import annotations

from typing import Any

from controlplane.contract.records import NodeReport, WorkloadReport
from controlplane.storage import nodes
from tests.unit.controlplane.samples import BOOT, NODE
from tests.unit.controlplane.storage.conftest import NOW, Storage

COVERED = WorkloadReport(id=7, path="/rl.slice/a", policy="base", covered=True, events=12)
UNCOVERED = WorkloadReport(
    id=8, path="/rl.slice/b\udcff\0", policy=None, covered=False, reason="no policy selects it"
)


def report(**fields: Any) -> NodeReport:
    given = {"version": "0.2.0", "enforcing": True, "mode": "lsm", **fields}
    return NodeReport.model_construct(boot=BOOT, **given)


def test_the_last_report_is_what_is_known(storage: Storage) -> None:
    storage.write(nodes.report, NODE, report(spool_dropped=1), NOW)
    storage.write(nodes.report, NODE, report(spool_dropped=5), NOW + 5)
    (node,) = storage.read(nodes.all, NOW + 5)
    assert (node.name, node.live, node.last_seen) == (NODE, True, NOW + 5)
    assert node.report.spool_dropped == 5


def test_a_node_is_live_for_thirty_seconds_and_known_for_good(storage: Storage) -> None:
    storage.write(nodes.report, NODE, report(workloads=[COVERED]), NOW)
    assert [n.live for n in storage.read(nodes.all, NOW + 30)] == [True]
    assert [n.live for n in storage.read(nodes.all, NOW + 30.1)] == [False]
    assert len(storage.read(nodes.workloads, NOW + 30)) == 1
    assert storage.read(nodes.workloads, NOW + 30.1) == []


def test_workloads_say_where_they_are_and_why_they_are_not_covered(storage: Storage) -> None:
    broken = UNCOVERED.model_copy(update={"path": "/rl.slice/b\udcff\0"})
    storage.write(nodes.report, "gpu-2", report(workloads=[broken]), NOW)
    storage.write(nodes.report, "gpu-1", report(workloads=[COVERED]), NOW)
    found = storage.read(nodes.workloads, NOW)
    assert [(w.node, w.workload.path, w.workload.reason) for w in found] == [
        ("gpu-1", "/rl.slice/a", ""),
        ("gpu-2", "/rl.slice/b\\udcff\0", "no policy selects it"),
    ]
