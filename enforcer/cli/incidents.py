# SPDX-License-Identifier: Apache-2.0
"""lictor incidents: what was denied or audited, by tool call; looked into and judged."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from enforcer.cli.api import add_api_command, ask, body
from enforcer.cli.output import local_time, print_model, print_table, printable
from enforcer.cli.parsers import CommandParser

if TYPE_CHECKING:
    from controlplane.contract.records import Incident, IncidentState

DESCRIPTION = """\
What was denied or audited: one incident for each tool call (or process) and class of attempt.

  lictor incidents                               the list, the latest first
  lictor incidents --state open --episode rome-0001
  lictor incidents 1f0c2a9be1d25f0e9a34          one told whole, by its ID in the list
  lictor incidents acknowledge 1f0c2a9be1d25f0e9a34 --note 'asked the team'
"""
LIMIT = 100
JUDGEMENTS: dict[str, tuple[IncidentState, str]] = {
    "acknowledge": ("acknowledged", "mark one as seen to; what comes later is still counted"),
    "false-positive": (
        "false-positive",
        "mark one as no incident: it was meant to be done",
    ),
    "reopen": ("open", "mark one as still to be looked at"),
}


def add_arguments(_command: str, parser: CommandParser) -> None:
    """Arguments of the incident commands."""
    parser.description = DESCRIPTION
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show_parser = add_api_command(
        actions,
        "show",
        "list incidents, or tell one whole (`show` may be left out)",
        description="Without ID: incidents, the one with the latest event first. With ID: who it"
        " was, which tool call with which arguments, what was attempted, what decided, and what"
        " the call did afterwards. `show` may be left out.",
        json=True,
    )
    show_parser.add_argument("id", nargs="?", metavar="ID", help="as in the list")
    show_parser.add_argument(
        "--state",
        choices=("open", "acknowledged", "false-positive"),
        help="for the list: only these",
    )
    show_parser.add_argument(
        "--episode", metavar="ID", help="for the list: only of this episode's tool calls"
    )
    show_parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help=f"for the list: at most so many, up to 1000; else {LIMIT}",
    )
    show_parser.set_defaults(run=show)
    for name, (_, text) in JUDGEMENTS.items():
        judge_parser = add_api_command(actions, name, text)
        judge_parser.add_argument("id", metavar="ID", help="as in the list")
        judge_parser.add_argument("--note", metavar="TEXT", help="why; in place of an older note")
        judge_parser.set_defaults(run=judge)
    parser.imply("show", actions.choices)


def show(arguments: argparse.Namespace) -> int:
    """A list, or one with all that is known of it."""
    if arguments.id is not None:
        from enforcer.cli.incident_story import story

        detail = ask(arguments, lambda client: client.incident(arguments.id))
        if arguments.json:
            print_model(detail)
        else:
            print("\n".join(story(detail)))
        return 0
    limit = LIMIT if arguments.limit is None else arguments.limit
    found = ask(
        arguments,
        lambda client: client.incidents(
            state=arguments.state, episode=arguments.episode, limit=limit
        ),
    )
    if arguments.json:
        print_model(found)
    else:
        print_incidents(found.incidents)
    if len(found.incidents) == limit:
        print(f"lictor: there may be more: --limit N, now {limit}", file=sys.stderr)
    return 0


def judge(arguments: argparse.Namespace) -> int:
    """Set the state that the action stands for."""
    from controlplane.contract.records import IncidentChange

    state, _ = JUDGEMENTS[arguments.action]
    what = f"incident {printable(arguments.id)}"
    change = body(IncidentChange, what, state=state, note=arguments.note)
    incident = ask(arguments, lambda client: client.change_incident(arguments.id, change))
    note = f" ({printable(incident.note)})" if incident.note else ""
    print(f"incident {incident.id}: {incident.state}{note}")
    return 0


def print_incidents(incidents: list[Incident]) -> None:
    """One row each."""
    header = ("ID", "LAST", "SEVERITY", "STATE", "EVENTS", "NODE", "EPISODE", "CALL", "WHAT")
    rows = [
        (
            each.id,
            local_time(each.last),
            each.severity,
            each.state,
            each.denied + each.audited,
            each.node,
            each.episode,
            each.call,
            each.title,
        )
        for each in incidents
    ]
    print_table(header, rows)
