# SPDX-License-Identifier: Apache-2.0
"""lictor policy allow: one rule more, for exactly what an event attempted."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from enforcer import paths
from enforcer.cli import rollout
from enforcer.cli.api import add_api_command, asks_control_plane
from enforcer.cli.exits import EXIT_FAILED
from enforcer.cli.output import print_json, printable
from enforcer.cli.parsers import Parser
from enforcer.cli.policy_revision import Revision, of_agent, of_control_plane
from enforcer.client import EnforcerClient

if TYPE_CHECKING:
    from controlplane.explain import Change

DESCRIPTION = """\
Prints the policy in force, changed so that it allows exactly what the event attempted: one
address, protocol and port; one file; one device. What is added is said on standard error. The
event is looked for on this node, whose policy is changed then; else in the control plane, if one
is named or serves on this machine: there is every node's, and the policy's newest revision.
Refused where no rule can allow it, and where a person has to decide, as against a denial by
name: `lictor explain EVENT` says which.
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
        help="look on this node only; with --apply: through its agent, for this node alone",
    )  # fmt: skip
    parser.set_defaults(run=allow_event)


def allow_event(arguments: argparse.Namespace) -> int:
    """Change the policy in force by one entry; print it, or apply it."""
    import yaml

    from controlplane.explain import allow, proposed
    from enforcer.cli.eventlookup import find_event, gpu_names

    found = find_event(arguments, arguments.event)
    event = found.event
    gpus = gpu_names(event)
    following = None
    if found.here:
        # Asked for first: who changes the policy meanwhile takes the number that is named below.
        following = _newest(event["policy"]) + 1
        current = of_agent(event["policy"])
    else:
        current = of_control_plane(arguments, event["policy"])
    change = proposed(current.policy, event, gpus=gpus)
    document = allow(current.policy, event, gpus=gpus)
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    if not arguments.json:
        _tell(current, change)
    applied, status = None, 0
    if arguments.apply and change is not None:
        if asks_control_plane(arguments):
            applied, status = _apply_everywhere(arguments, current, text)
        else:
            applied = _apply_here(arguments, text, following)
    if arguments.json:
        print_json(
            {
                "before": {"name": current.policy.name, "revision": current.number},
                "change": change and change.document(),
                "document": document,
                "applied": applied,
            }
        )
    elif not arguments.apply:
        print(text, end="")
    return status


def _newest(name: str) -> int:
    """The highest number that the policy ever had on this node."""
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        return int(client.request("status")["revisions"].get(name, 0))


def _tell(current: Revision, change: Change | None) -> None:
    about = f"# policy {current.policy.name}, revision {current.number}"
    if change is None:
        print(f"{about}: allows it already; unchanged", file=sys.stderr)
        return
    print(f"{about}: added to {change.field}:", file=sys.stderr)
    for line in change.yaml.splitlines():
        print(f"#   {printable(line)}", file=sys.stderr)


def _apply_everywhere(
    arguments: argparse.Namespace, current: Revision, text: str
) -> tuple[dict[str, Any], int]:
    """(what became of it, exit status). A policy that has changed meanwhile is refused."""
    accepted = rollout.put(arguments, current.policy.name, text, current.number)
    if not arguments.json:
        print("\n".join(rollout.rollout_lines(accepted, "in force")))
    return accepted.model_dump(mode="json"), EXIT_FAILED if rollout.is_late(accepted) else 0


def _apply_here(arguments: argparse.Namespace, text: str, following: int | None) -> dict[str, Any]:
    """What became of it, as the revision of that number and no other."""
    source = f"policy allow --from {arguments.event}"
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        reply = client.request("policy.apply", source=source, text=text, revision=following)
    row: dict[str, Any] = reply["policy"]
    if not arguments.json:
        print(f"policy {row['name']}: revision {row['revision']} in force ({row['mode']})")
    return row
