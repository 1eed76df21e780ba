# SPDX-License-Identifier: Apache-2.0
"""lictor nodes: every node of the control plane, and whether it can be relied upon."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from enforcer.cli.api import add_api_arguments, ask
from enforcer.cli.output import byte_count, local_time, print_model, print_table

if TYPE_CHECKING:
    from controlplane.contract.records import Node

HEADER = (
    "NODE", "LIVE", "SEEN", "ENFORCING", "SINCE", "CANARY", "VERSION", "WORKLOADS", "UNSENT",
    "LOST", "NOTE",
)  # fmt: skip


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of `nodes`."""
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_api_arguments(parser)
    parser.set_defaults(run=nodes)


def nodes(arguments: argparse.Namespace) -> int:
    """One row each."""
    found = ask(arguments, lambda client: client.nodes())
    if arguments.json:
        print_model(found)
        return 0
    print_table(HEADER, [_row(node) for node in found.nodes])
    return 0


def _row(node: Node) -> tuple[object, ...]:
    report = node.report
    enforcing = f"yes ({report.mode})" if report.enforcing else "NO"
    uncovered = sum(not workload.covered for workload in report.workloads)
    note = f" ({uncovered} NOT COVERED)" if uncovered else ""
    return (
        node.name,
        "yes" if node.live else "NO",
        local_time(node.last_seen),
        # Of a node that is silent only the past is known.
        enforcing if node.live else "unknown",
        local_time(report.enforcing_since) if node.live else "-",
        local_time(report.canary_at),
        report.version,
        f"{len(report.workloads)}{note}",
        byte_count(report.spool_waiting_bytes),
        report.spool_dropped + report.unwritten + report.undecodable + report.refused,
        report.problem,
    )
