# SPDX-License-Identifier: Apache-2.0
"""lictor policy: arguments; `validate`; and who is asked, the control plane or this node."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from enforcer.cli import policy_fleet, policy_node
from enforcer.cli.api import add_api_command, asks_control_plane
from enforcer.cli.exits import EXIT_FAILED
from enforcer.cli.parsers import Parser, add_command
from enforcer.cli.policy_allow import add_allow
from enforcer.cli.policy_diff import add_diff
from enforcer.cli.policy_files import read_source

Action = Callable[[argparse.Namespace], int]

WHOM = (
    " The control plane is asked where one is named or serves on this machine, for all nodes; else"
    " this node's agent, for this node alone."
)
WAITS = (
    " Then live nodes are given 30 s to have it in force, and those that have not are named;"
    " with exit status 1."
)


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of the policy commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    validate_parser = add_command(actions, "validate", "check files; needs no agent")
    validate_parser.add_argument("file", nargs="+", help="YAML file, - for standard input")
    validate_parser.set_defaults(run=validate)
    apply_parser = _add(
        actions,
        "apply",
        "put files into force, as new revisions",
        (policy_node.apply, policy_fleet.apply),
        WAITS,
    )
    apply_parser.add_argument("file", nargs="+", help="YAML file, - for standard input")
    _add(
        actions,
        "list",
        "the policies in force",
        (policy_node.list_policies, policy_fleet.list_policies),
        " What this node alone has is listed too, if its agent answers.",
    )
    show_parser = _add(
        actions, "show", "one policy, as YAML", (policy_node.show, policy_fleet.show)
    )
    show_parser.add_argument("name")
    remove_parser = _add(
        actions,
        "remove",
        "take a policy out of force; what else covers its workloads then decides",
        (policy_node.remove, policy_fleet.remove),
        WAITS,
    )
    remove_parser.add_argument("name")
    history_parser = add_api_command(
        actions, "history", "every revision of a policy in the control plane", json=True
    )
    history_parser.add_argument("name")
    history_parser.set_defaults(run=policy_fleet.history)
    rollback_parser = add_api_command(
        actions,
        "rollback",
        "put the text of an older revision into force again, as the newest one",
        json=True,
    )
    rollback_parser.add_argument("name")
    rollback_parser.add_argument("revision", type=int, help="as in `lictor policy history`")
    rollback_parser.set_defaults(run=policy_fleet.rollback)
    add_diff(actions)
    add_allow(actions)


def _add(
    actions: argparse._SubParsersAction[Parser],
    name: str,
    text: str,
    places: tuple[Action, Action],
    more: str = "",
) -> Parser:
    """An action that this node's agent or the control plane does."""
    description = f"{text[0].upper()}{text[1:]}.{WHOM}{more}"
    parser = add_api_command(actions, name, text, description, json=True)
    parser.add_argument(
        "--node-only",
        action="store_true",
        help="ask this node's agent, for this node alone, also if there is a control plane",
    )
    parser.set_defaults(run=lambda arguments: _place(arguments, places)(arguments))
    return parser


def _place(arguments: argparse.Namespace, places: tuple[Action, Action]) -> Action:
    by_agent, by_control_plane = places
    return by_control_plane if asks_control_plane(arguments) else by_agent


def validate(arguments: argparse.Namespace) -> int:
    """Every fault of every file."""
    from controlplane.contract.policy import PolicyError, parse_policy

    faulty = False
    for file in arguments.file:
        source, text = read_source(file)
        try:
            policy = parse_policy(text, source)
        except PolicyError as error:
            faulty = True
            print(error, file=sys.stderr)
            continue
        print(f"{source}: policy {policy.name}: valid")
    return EXIT_FAILED if faulty else 0
