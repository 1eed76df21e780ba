# SPDX-License-Identifier: Apache-2.0
"""lictor policy allow: one rule more, for exactly what an event attempted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from enforcer import paths
from enforcer.cli.api import add_api_command, ask, has_control_plane
from enforcer.cli.exits import EXIT_FAILED
from enforcer.cli.output import print_json, printable
from enforcer.cli.parsers import Parser
from enforcer.cli.policy_fleet import WAIT, _rollout_lines
from enforcer.client import EnforcerClient

if TYPE_CHECKING:
    from controlplane.contract.records import PolicyAccepted
    from controlplane.explain import Change

DESCRIPTION = """\
Prints the policy in force on this node, changed so that it allows exactly what the event
attempted: one address, protocol and port; one file; one device. What is added is said on
standard error. Refused where no rule can allow it, and where a person has to decide, as
against a denial by name: `lictor explain EVENT` says which.
"""


def add_allow(actions: argparse._SubParsersAction[Parser]) -> None:
    """`allow`, below `lictor policy`."""
    parser = add_api_command(
        actions, "allow", "allow exactly what an event was denied", DESCRIPTION, json=True
    )
    parser.add_argument(
        "--from", dest="event", metavar="EVENT", required=True,
        help="the event's id, as `lictor events` shows it",
    )  # fmt: skip
    parser.add_argument(
        "--apply", action="store_true",
        help="put the changed policy into force, through the control plane where there is one",
    )  # fmt: skip
    parser.add_argument(
        "--node-only", action="store_true",
        help="with --apply: through this node's agent, for this node alone",
    )  # fmt: skip
    parser.set_defaults(run=allow_event)


def allow_event(arguments: argparse.Namespace) -> int:
    """Change the policy in force by one entry; print it, or apply it."""
    import yaml

    from controlplane.explain import allow, proposed
    from enforcer.cli.eventlookup import find_event, gpu_names, parsed, shown_policy

    event = find_event(arguments.event)
    gpus = gpu_names(event)
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        # Asked for first: who changes the policy meanwhile takes the number that is named below.
        newest = client.request("status")["revisions"]
        shown = shown_policy(client, event["policy"])
    policy = parsed(shown)
    change = proposed(policy, event, gpus=gpus)
    document = allow(policy, event, gpus=gpus)
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    if not arguments.json:
        _tell(shown, change)
    applied, status = None, 0
    if arguments.apply and change is not None:
        applied, status = _apply(arguments, shown, text, newest[shown["name"]] + 1)
    if arguments.json:
        print_json(
            {
                "before": {"name": shown["name"], "revision": shown["revision"]},
                "change": change and change.document(),
                "document": document,
                "applied": applied,
            }
        )
    elif not arguments.apply:
        print(text, end="")
    return status


def _tell(shown: Mapping[str, Any], change: Change | None) -> None:
    about = f"# policy {shown['name']}, revision {shown['revision']}"
    if change is None:
        print(f"{about}: allows it already; unchanged", file=sys.stderr)
        return
    print(f"{about}: added to {change.field}:", file=sys.stderr)
    for line in change.yaml.splitlines():
        print(f"#   {printable(line)}", file=sys.stderr)


def _apply(
    arguments: argparse.Namespace, shown: Mapping[str, Any], text: str, number: int
) -> tuple[dict[str, Any], int]:
    """(what became of it, exit status). A policy that has changed meanwhile is refused."""
    name, revision = str(shown["name"]), int(shown["revision"])
    if has_control_plane(arguments) and not arguments.node_only:
        accepted = _put(arguments, name, text, revision)
        if not arguments.json:
            print("\n".join(_rollout_lines(accepted, "in force")))
        late = accepted.nodes.pending or accepted.nodes.failed
        return accepted.model_dump(mode="json"), EXIT_FAILED if late else 0
    source = f"policy allow --from {arguments.event}"
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        reply = client.request("policy.apply", source=source, text=text, revision=number)
    row: dict[str, Any] = reply["policy"]
    if not arguments.json:
        print(f"policy {row['name']}: revision {row['revision']} in force ({row['mode']})")
    return row, 0


def _put(arguments: argparse.Namespace, name: str, text: str, revision: int) -> PolicyAccepted:
    return ask(
        arguments, lambda client: client.put_policy(name, text, wait=WAIT, expected=revision)
    )
