# SPDX-License-Identifier: Apache-2.0
"""An incident told whole: who, by which tool call, what, decided by what, and what followed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from controlplane.contract.records import IncidentDetail, StoredEvent, Target, ToolCall
from controlplane.correlate import acts
from enforcer.cli.output import local_time, printable

EVENTS_SHOWN = 30
ARGUMENT_CHARACTERS = 4000
ARGUMENT_LINE = 80
LABEL_WIDTH = 13
ATTRIBUTIONS = {
    "kernel": "inherited in the kernel: the process descends from what was bound to the call",
    "entry": "entry into a container with a one-time nonce",
    "window": "by time only: it may have been another call",
    "none": "the process descends from no known tool call",
}


def story(detail: IncidentDetail) -> Iterator[str]:
    """Line by line."""
    incident = detail.incident
    yield f"incident {incident.id}: {printable(incident.title)}"
    yield ""
    yield from _field("state", incident.state)
    if incident.note:
        yield from _block("note", incident.note)
    yield from _field("severity", f"{incident.severity} ({incident.kind})")
    yield from _field("when", f"{local_time(incident.first)} to {local_time(incident.last)}")
    yield from _field("how often", f"{incident.denied} denied, {incident.audited} audited")
    yield from _field("who", incident.subject)
    yield from _field("where", f"node {incident.node}, workload {incident.workload}")
    if incident.episode is not None:
        step = "" if incident.step is None else f", step {incident.step}"
        yield from _field("episode", f"{incident.episode}{step}")
    if incident.call is not None:
        tool = "" if incident.tool is None else f" of tool {incident.tool}"
        yield from _field("tool call", f"{incident.call}{tool}")
    if detail.call is not None:
        yield from _call(detail.call)
    known = ATTRIBUTIONS.get(incident.attribution, "")
    yield from _field("attribution", f"{incident.attribution}: {known}")
    yield from _tally("what was attempted", incident.targets)
    yield from _tally("what decided", incident.rules)
    yield from _events("events", detail.events)
    yield from _events("what followed in the same call or process", detail.followed)


def _field(label: str, text: str) -> Iterator[str]:
    yield f"{label:<{LABEL_WIDTH}}{printable(text)}"


def _block(label: str, text: str) -> Iterator[str]:
    """Text of several lines, each behind the labels: none can pass for a field."""
    for index, line in enumerate(text.splitlines()):
        yield from _field("" if index else label, line or " ")


def _call(call: ToolCall) -> Iterator[str]:
    ended = "it still runs"
    if call.ended is not None:
        ended = f"ended {local_time(call.ended)} ({call.ending or 'not known how'})"
    yield from _field("", f"began {local_time(call.started)}, {ended}, bound by {call.binding}")
    if call.arguments is None:
        return
    text = call.arguments
    if not isinstance(text, str):
        line = json.dumps(text, ensure_ascii=False)
        long = len(line) > ARGUMENT_LINE
        text = json.dumps(text, indent=1, ensure_ascii=False) if long else line
    cut = len(text) - ARGUMENT_CHARACTERS
    if cut > 0:
        text = f"{text[:ARGUMENT_CHARACTERS]}\n… and {cut} more characters, see --json"
    yield from _block("arguments", text)


def _tally(heading: str, counts: Iterable[Target]) -> Iterator[str]:
    lines = [f"{each.count:>6}x {printable(each.text)}" for each in counts]
    if lines:
        yield from ("", f"{heading}:", *lines)


def _events(heading: str, events: list[StoredEvent]) -> Iterator[str]:
    yield ""
    if not events:
        yield f"{heading}: nothing is known"
        return
    yield f"{heading}:"
    yield from map(_line, events[:EVENTS_SHOWN])
    if (further := len(events) - EVENTS_SHOWN) > 0:
        yield f"  … and {further} more, see --json"


def _line(stored: StoredEvent) -> str:
    event = stored.event
    decision = event["decision"] if event["decision"] == "allowed" else event["decision"].upper()
    at = local_time(event["time"], "%H:%M:%S")
    parts = (at, decision, event["kind"], acts.target(event), acts.subject(event), acts.rule(event))
    cells = zip((*parts, stored.id), (8, 8, 7, 26, 26, 24, 0), strict=True)
    return "  " + " ".join(printable(part).ljust(width) for part, width in cells)
