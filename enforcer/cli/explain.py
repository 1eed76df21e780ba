# SPDX-License-Identifier: Apache-2.0
"""lictor explain: why an attempt was allowed or denied, and what would allow it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from controlplane.contract.policy import Policy
from controlplane.contract.wire import RequestError
from controlplane.explain import Explanation, explain
from enforcer.cli.api import add_api_arguments
from enforcer.cli.eventlookup import FoundEvent, find_event, gpu_names
from enforcer.cli.exits import CommandFailed
from enforcer.cli.output import local_time, print_json, printable
from enforcer.cli.policy_revision import Revision, of_agent, of_control_plane

DESCRIPTION = """\
Says why an attempt was allowed, denied or audited, and what would allow it. The event is looked
for on this node, then in the control plane, if one is named or serves on this machine: there is
every node's. The policy's text is from where the event was found.
"""
LABEL_WIDTH = 10


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of `explain`."""
    parser.description = DESCRIPTION
    parser.add_argument("event", metavar="EVENT", help="the last column of `lictor events`")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--node-only", action="store_true", help="look on this node only")
    add_api_arguments(parser)
    parser.set_defaults(run=explain_event)


def explain_event(arguments: argparse.Namespace) -> int:
    """One event, its rule, the nearest other one, and the change that would allow it."""
    where = find_event(arguments, arguments.event)
    event = where.event
    policy, current, revision = _policies(arguments, where)
    found = explain(event, policy, current=current, gpus=gpu_names(event))
    if arguments.json:
        print_json(
            {"id": arguments.event, **found.document(), "in_force": revision, "event": event}
        )
        return 0
    for label, text in _lines(arguments.event, event, found, revision):
        print(f"{label:<{LABEL_WIDTH}}{printable(text)}")
    if found.change is not None:
        for line in found.change.yaml.splitlines():
            print(f"{'':<{LABEL_WIDTH + 2}}{printable(line)}")
    return 0


def _policies(
    arguments: argparse.Namespace, found: FoundEvent
) -> tuple[Policy | None, Policy | None, int | None]:
    """(the revision that decided, the one in force if that is another, its number)."""
    number = found.event["revision"]
    active = decided = None
    try:
        active = _revision(arguments, found, None)
        if active is not None and number == active.number:
            return active.policy, None, number
        # A workload's begin and end come before any revision decides.
        if number:
            decided = _revision(arguments, found, number)
    except OSError as error:
        _warn(error)
    return (
        decided.policy if decided is not None else None,
        active.policy if active is not None else None,
        active.number if active is not None else None,
    )


def _revision(
    arguments: argparse.Namespace, found: FoundEvent, number: int | None
) -> Revision | None:
    """From the place that the event is from; None where it cannot be had or read."""
    name = found.event["policy"]
    try:
        if found.here:
            return of_agent(name, number)
        return of_control_plane(arguments, name, number)
    except (RequestError, CommandFailed, ValueError) as error:
        _warn(error)
    return None


def _warn(error: Exception) -> None:
    # The first line is the cause; what follows is advice for who asks for the policy itself.
    cause = str(error).partition("\n")[0]
    print(f"lictor: explained without the policy's text: {cause}", file=sys.stderr)


def _lines(
    name: str, event: dict[str, Any], found: Explanation, revision: int | None
) -> Iterator[tuple[str, str]]:
    subject, call = event["subject"], event["tag"]["call"]
    yield "event", f"{name}, {local_time(event['time'])}"
    yield "attempt", found.attempt
    process = f"{subject.get('comm')}[{subject['pid']}], uid {subject.get('uid')}"
    by = f"{process}, in {event['workload']} of {event['node']}"
    yield "by", by
    if call is not None:
        episode = call.get("episode")
        where = f"step {call.get('step')} of {episode}" if episode else "no episode"
        tool = call.get("tool") or "no tool named"
        yield "call", f"{call.get('id')} ({tool}), {where}, {call.get('state')}"
    if event["tag"]["grants"]:
        yield "grants", ", ".join(event["tag"]["grants"])
    yield "decision", found.decision
    yield "policy", f"{event['policy']}, revision {event['revision']}"
    yield "reason", found.reason
    if found.rule is not None:
        yield "rule", f"spec.{found.rule}: {found.texts.get(found.rule, '(its text is not here)')}"
    if found.nearest is not None:
        text = found.texts.get(found.nearest.rule, "")
        yield "nearest", f"spec.{found.nearest.rule}: {text}"
        yield "", found.nearest.why
    if found.now is not None:
        yield "now", f"revision {revision}: {found.now}"
    if found.obstacle is not None:
        yield "allow", found.obstacle
    for note in found.notes:
        yield "note", note
    if found.change is not None:
        change = found.change
        if change.refusal is None:
            yield "allow", f"lictor policy allow --from {name}"
        else:
            yield "allow", f"not by Lictor itself: {change.refusal}"
        preposition = "to" if change.action == "add" else "from"
        where = change.field if change.action == "add" else change.field.rpartition("[")[0]
        yield "", f"{change.action} {preposition} {where}:"
