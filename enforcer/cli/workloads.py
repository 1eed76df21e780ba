# SPDX-License-Identifier: Apache-2.0
"""lictor workloads: what is covered and by which policy, what is not, and what is missing."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from enforcer import paths
from enforcer.cli.api import add_api_arguments, add_node_arguments, ask, asks_control_plane
from enforcer.cli.exits import CommandFailed
from enforcer.cli.output import local_time, print_json, print_table, printable
from enforcer.client import EnforcerClient

if TYPE_CHECKING:
    from controlplane.client import ApiClient
    from controlplane.contract.records import Node, Workload, WorkloadReport

DESCRIPTION = """\
Lists workloads with their policy and counts, and containers that no policy covers. The control
plane is asked where one is named or serves on this machine, for all live nodes, as each reported
last, some seconds ago; else this node's agent, for this node alone.
"""
COUNTS = ("spool_dropped", "unwritten", "undecodable")


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of `workloads`."""
    parser.description = DESCRIPTION
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_node_arguments(parser, "ask this node's agent, also if there is a control plane")
    add_api_arguments(parser)
    parser.set_defaults(run=workloads)


def workloads(arguments: argparse.Namespace) -> int:
    """One row each; `missing` counts events that were told of by number only."""
    found, nodes = _of_nodes(arguments) if asks_control_plane(arguments) else _of_agent()
    if arguments.json:
        rows = [workload.model_dump(mode="json") for workload in found]
        print_json({"workloads": rows, "nodes": nodes})
    else:
        header = ("NODE", "WORKLOAD", "POLICY", "COVERED", "EVENTS", "MISSING", "NOTE")
        print_table(header, map(_row, found))
    return 0


def _row(found: Workload) -> tuple[object, ...]:
    workload = found.workload
    return (
        found.node,
        workload.path,
        workload.policy,
        "yes" if workload.covered else "NO",
        workload.events,
        workload.suppressed + workload.lost,
        _note(workload),
    )


def _note(workload: WorkloadReport) -> str:
    notes = [workload.reason] if workload.reason else []
    if workload.exempt_until is not None:
        notes.append(f"EXEMPT until {local_time(workload.exempt_until)}: {workload.exempt_reason}")
    return "; ".join(notes)


def _of_nodes(arguments: argparse.Namespace) -> tuple[list[Workload], list[dict[str, Any]]]:
    """(workloads, counts of each node); standard error names the nodes that say nothing."""
    wanted = arguments.node

    async def work(client: ApiClient) -> tuple[list[Workload], list[Node]]:
        return (await client.workloads(node=wanted)).workloads, (await client.nodes()).nodes

    found, known = ask(arguments, work)
    nodes = [node for node in known if wanted in (None, node.name)]
    if wanted is not None and not nodes:
        raise CommandFailed(f"node {printable(wanted)}: is not known; lictor nodes lists them")
    for node in nodes:
        if not node.live:
            text = f"node {printable(node.name)}: silent since {local_time(node.last_seen)}"
            print(f"lictor: {text}; its workloads are not listed", file=sys.stderr)
    return found, [_counts(node.name, node.report.model_dump()) for node in nodes if node.live]


def _of_agent() -> tuple[list[Workload], list[dict[str, Any]]]:
    """(workloads, counts of this node), as its uplink would report them."""
    from controlplane.contract.records import Workload
    from enforcer.uplink_report import covered_workloads, uncovered_containers

    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        status = client.request("status")
    covered = covered_workloads(status["workloads"])
    found = [*covered, *uncovered_containers(covered)]
    node = status["node"]
    return [Workload(node=node, workload=each) for each in found], [_counts(node, status)]


def _counts(node: str, said: dict[str, Any]) -> dict[str, Any]:
    return {"node": node, **{name: said[name] for name in COUNTS}}
