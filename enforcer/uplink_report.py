# SPDX-License-Identifier: Apache-2.0
"""A node's report: what the agent says of itself, and the containers that no policy covers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from controlplane.contract.records import NodeReport, WorkloadReport
from enforcer import VERSION, cgroups
from enforcer.condition import node_condition
from enforcer.uplink_state import UplinkState

LARGEST_WORKLOADS = 3 << 20
"""Bytes of workloads in one report: the control plane takes 4 MiB of JSON."""
NOT_SELECTED = "no policy selects its cgroup"
NOT_ARMED = "its socket programs are not attached yet"

# What runtimes call a container's cgroup: 64 hex digits, with the runtime's name before them
# where systemd holds the cgroup. Source: containerd's, CRI-O's, podman's and runc's cgroup paths.
_CONTAINER = re.compile(r"(?:[a-z]+(?:-[a-z]+)*-)?[0-9a-f]{64}(?:\.scope)?")


def node_report(
    status: dict[str, Any] | None,
    *,
    boot: str,
    state: UplinkState,
    waiting: int,
    workloads: list[WorkloadReport],
) -> NodeReport:
    """From the agent's `status`; None while no agent answers, then `workloads` are the last known.

    waiting: bytes of events that are still to be sent.
    """
    listed, left_out = _fitting(workloads)
    said = status or {}
    # An agent of before an upgrade does not say how it is.
    condition = said if "enforcing" in said else node_condition(said.get("program_set"))
    problems = [] if status else ["no agent answers: policies cannot be changed"]
    problems += [condition["problem"]] if condition["problem"] else []
    if left_out:
        problems.append(f"{left_out} workloads more than one report holds")
    return NodeReport(
        boot=boot,
        version=said.get("release", VERSION),
        enforcing=condition["enforcing"],
        enforcing_since=condition.get("enforcing_since"),
        canary_at=condition.get("canary_at"),
        mode=condition["mode"],
        problem="; ".join(problems),
        spool_dropped=state.spool.lost,
        spool_waiting_bytes=waiting,
        unwritten=said.get("unwritten", 0),
        undecodable=said.get("undecodable", 0),
        refused=state.refused,
        policies=said.get("revisions", {}),
        workloads=listed,
    )


def covered_workloads(rows: Iterable[dict[str, Any]]) -> list[WorkloadReport]:
    """The workloads of the agent's `status`."""
    return [
        WorkloadReport(
            id=row["id"],
            path=row["path"] or f"cgroup-{row['id']}",
            policy=row["policy"],
            covered=True,
            reason="" if row["armed"] else NOT_ARMED,
            # An agent of before an upgrade knows of no exemptions.
            exempt_until=row.get("exempt_until"),
            exempt_reason=row.get("exempt_reason", ""),
            events=row["events"],
            delivered=row["delivered"],
            suppressed=row["suppressed"],
            lost=row["lost_denials"] + row["lost_activity"],
        )
        for row in rows
    ]


def uncovered_containers(covered: Iterable[WorkloadReport]) -> list[WorkloadReport]:
    """Containers of this machine that lie in no workload, by the names that runtimes give."""
    known = {workload.path for workload in covered}
    found: list[WorkloadReport] = []
    below = ["/"]
    while below:
        for path, number in cgroups.children(below.pop()):
            if path in known:
                continue
            if is_container(path):
                report = WorkloadReport(
                    id=number, path=path, policy=None, covered=False, reason=NOT_SELECTED
                )
                found.append(report)
            else:
                below.append(path)
    return sorted(found, key=lambda workload: workload.path)


def is_container(path: str) -> bool:
    """Whether a cgroup's name is one that a container runtime gives."""
    name = path.rpartition("/")[2]
    return _CONTAINER.fullmatch(name) is not None and not cgroups.is_monitor(path)


def _fitting(workloads: list[WorkloadReport]) -> tuple[list[WorkloadReport], int]:
    """As many as a report holds, and how many are left."""
    size = 0
    for index, workload in enumerate(workloads):
        size += len(workload.model_dump_json()) + 1
        if size > LARGEST_WORKLOADS:
            return workloads[:index], len(workloads) - index
    return workloads, 0
