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
from enforcer import paths
from enforcer.cli.eventlookup import find_event, gpu_names, parsed, shown_policy
from enforcer.cli.output import local_time, print_json, printable
from enforcer.client import EnforcerClient

LABEL_WIDTH = 10


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of `explain`."""
    parser.add_argument("event", metavar="EVENT", help="the last column of `lictor events`")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=explain_event)


def explain_event(arguments: argparse.Namespace) -> int:
    """One event, its rule, the nearest other one, and the change that would allow it."""
    event = find_event(arguments.event)
    policy, current, revision = _policies(event)
    gpus = gpu_names(event)
    found = explain(event, policy, current=current, gpus=gpus)
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


def _policies(event: dict[str, Any]) -> tuple[Policy | None, Policy | None, int | None]:
    """(the revision that decided, the one in force if that is another, its number)."""
    name, revision = event["policy"], event["revision"]
    decided = active = None
    number = None
    try:
        with EnforcerClient(paths.ADMIN_SOCKET) as client:
            try:
                active = shown_policy(client, name)
                number = int(active["revision"])
            except RequestError as error:
                _warn(error)
            if revision == number and active is not None:
                return parsed(active), None, number
            # A workload's begin and end come before any revision decides.
            if revision:
                try:
                    decided = shown_policy(client, name, revision)
                except RequestError as error:
                    _warn(error)
    except OSError as error:
        _warn(error)
    return (
        parsed(decided) if decided is not None else None,
        parsed(active) if active is not None else None,
        number,
    )


def _warn(error: Exception) -> None:
    print(f"lictor: explained without the policy's text: {error}", file=sys.stderr)


def _lines(
    name: str, event: dict[str, Any], found: Explanation, revision: int | None
) -> Iterator[tuple[str, str]]:
    subject, call = event["subject"], event["tag"]["call"]
    yield "event", f"{name}, {local_time(event['time'])}"
    yield "attempt", found.attempt
    by = f"{subject['comm']}[{subject['pid']}], uid {subject['uid']}, in {event['workload']}"
    yield "by", by
    if call is not None:
        where = f"step {call['step']} of {call['episode']}" if call["episode"] else "no episode"
        yield "call", f"{call['id']} ({call['tool'] or 'no tool named'}), {where}, {call['state']}"
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
