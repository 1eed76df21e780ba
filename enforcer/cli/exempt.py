# SPDX-License-Identifier: Apache-2.0
"""lictor exempt: let one workload past its policy for a while, on record."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from enforcer import paths
from enforcer.cli.exits import EXIT_USAGE, CommandFailed
from enforcer.cli.output import local_time, print_json, print_table, printable
from enforcer.client import EnforcerClient

UNITS = {"s": 1, "m": 60, "h": 3600}


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of `exempt`."""
    parser.add_argument("workload", nargs="?", metavar="WORKLOAD",
                        help="its cgroup path, as `lictor workloads` shows it")  # fmt: skip
    parser.add_argument("--for", dest="seconds", metavar="DURATION", type=duration,
                        help="90s, 30m, 2h: at most 24h")  # fmt: skip
    parser.add_argument("--reason", metavar="TEXT", help="why, for whoever reads it later")
    parser.add_argument("--end", action="store_true", help="let the policy hold again at once")
    parser.add_argument("--list", action="store_true", help="what is exempt now")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=exempt)


def duration(text: str) -> int:
    """Seconds of `90s`, `30m` or `2h`."""
    match = re.fullmatch(r"([0-9]{1,6})([smh])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90s, 30m or 2h")
    return int(match[1]) * UNITS[match[2]]


def exempt(arguments: argparse.Namespace) -> int:
    """Begin, end or list."""
    _check(arguments)
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        if arguments.list:
            _show(client.request("exempt.list")["exemptions"], as_json=arguments.json)
            return 0
        if arguments.end:
            reply = client.request("exempt.end", workload=arguments.workload)
        else:
            reply = client.request(
                "exempt",
                workload=arguments.workload,
                seconds=arguments.seconds,
                reason=arguments.reason,
            )
    row = reply["exemption"]
    if arguments.json:
        print_json(row)
    path = printable(row["workload"])
    if arguments.end:
        print(f"lictor: {path}: no longer exempt: its policy holds", file=sys.stderr)
        return 0
    print(
        f"lictor: {path}: EXEMPT until {local_time(row['until'])}: what its policy denies happens,"
        f" and is recorded; lictor exempt {path} --end ends it",
        file=sys.stderr,
    )
    for warning in reply["warnings"]:
        print(f"lictor: {printable(warning)}", file=sys.stderr)
    return 0


def _show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"exemptions": rows})
        return
    print_table(
        ("WORKLOAD", "UNTIL", "UID", "REASON"),
        [(row["workload"], local_time(row["until"]), row["uid"], row["reason"]) for row in rows],
    )


def _check(arguments: argparse.Namespace) -> None:
    begins = arguments.seconds is not None or arguments.reason is not None
    if arguments.list + arguments.end + begins > 1:
        raise CommandFailed(
            "exempt: only one of --list, --end, and --for with --reason", EXIT_USAGE
        )
    if arguments.list:
        if arguments.workload is not None:
            raise CommandFailed("exempt: --list takes no workload", EXIT_USAGE)
        return
    if arguments.workload is None:
        raise CommandFailed("exempt: name a workload, or --list", EXIT_USAGE)
    if not arguments.end and (arguments.seconds is None or arguments.reason is None):
        raise CommandFailed("exempt: --for and --reason are needed, or --end", EXIT_USAGE)
