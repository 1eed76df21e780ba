# SPDX-License-Identifier: Apache-2.0
"""lictor workloads: what is covered, by which policy, and whether its record is complete."""

from __future__ import annotations

import argparse

from enforcer import paths
from enforcer.cli.output import print_json, print_table
from enforcer.client import EnforcerClient

COUNTS = ("suppressed", "lost_denials", "lost_activity")


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of `workloads`."""
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=workloads)


def workloads(arguments: argparse.Namespace) -> int:
    """One row each; `missing` counts events that were told of by number only."""
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        status = client.request("status")
    if arguments.json:
        kept = ("node", "workloads", "spool_dropped", "undecodable", "unwritten")
        print_json({name: status[name] for name in kept})
        return 0
    print_table(
        ("WORKLOAD", "POLICY", "EVENTS", "MISSING", "ARMED"),
        [
            (
                row["path"],
                row["policy"],
                row["events"],
                sum(row[name] for name in COUNTS),
                "yes" if row["armed"] else "NO",
            )
            for row in status["workloads"]
        ],
    )
    return 0
