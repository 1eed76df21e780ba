# SPDX-License-Identifier: Apache-2.0
"""Turns played steps and Lictor's events into the report. Pure: data in, data out."""

from __future__ import annotations

from typing import Any

from tests.replay import places
from tests.replay.packets import destinations
from tests.replay.play import Played
from tests.replay.records import Entry
from tests.replay.trajectory import Denial
from tests.replay.world import Evidence

Event = dict[str, Any]
Report = dict[str, Any]
NO_EVENTS = "no events"


def call_of(event: Event) -> dict[str, Any]:
    """The tool call in an event's tag; empty where it has none."""
    call = (event.get("tag") or {}).get("call")
    return call if isinstance(call, dict) else {}


def denied(event: Event) -> bool:
    return event.get("decision") == "denied"


def matches(event: Event, denial: Denial, identifier: str) -> bool:
    """Whether the event is this denial, by descent in the kernel, of this very call."""
    call = call_of(event)
    named = (
        call.get("id") == identifier
        and call.get("episode") == places.EPISODE
        and call.get("state") == denial.state
        and event.get("attribution") == "kernel"
    )
    target = event.get("object") or {}
    same = all(target.get(key) == value for key, value in denial.object.items())
    return named and denied(event) and event.get("kind") == denial.kind and same


def missing(played: Played, events: list[Event]) -> list[Denial]:
    """The denials that the step calls for and the events do not show."""
    return [
        denial
        for denial in played.step.denials
        if not any(matches(event, denial, played.step.id) for event in events)
    ]


def _target(event: Event) -> str:
    target = event.get("object") or {}
    if event.get("kind") in ("connect", "send"):
        return f"{target.get('protocol')} {target.get('address')}:{target.get('port')}"
    if event.get("kind") == "device":
        family = target.get("class") or target.get("type")
        return f"{family} {target.get('major')}:{target.get('minor')}"
    if event.get("kind") == "socket":
        return f"{target.get('family')} {target.get('type')} {target.get('protocol')}"
    return str(target.get("path"))


def decisions(events: list[Event]) -> list[dict[str, Any]]:
    """Fold a call's events into one entry per decision, with their number."""
    folded: dict[tuple[str, ...], dict[str, Any]] = {}
    for event in events:
        entry = {
            "kind": event.get("kind"),
            "target": _target(event),
            "decision": event.get("decision"),
            "policy": event.get("policy"),
            "revision": event.get("revision"),
            "rule": event.get("rule"),
            "reason": event.get("reason"),
            "state": call_of(event).get("state"),
        }
        known = folded.setdefault(tuple(str(value) for value in entry.values()), entry)
        known["count"] = known.get("count", 0) + 1
    return sorted(folded.values(), key=lambda entry: entry["decision"] != "denied")


def completeness(events: list[Event]) -> dict[str, int]:
    """How many events the episode's workload has, and how many of its numbers are missing.

    The kernel numbers a workload's events from 1 on, so a hole is an event that was lost.
    """
    workloads = {
        event.get("workload_id")
        for event in events
        if call_of(event).get("episode") == places.EPISODE
    }
    own = [event for event in events if event.get("workload_id") in workloads]
    missing_numbers = 0
    for workload in workloads:
        numbers = {
            event["sequence"]
            for event in own
            if event["workload_id"] == workload and event["sequence"] is not None
        }
        missing_numbers += max(numbers, default=0) - len(numbers)
    return {"count": len(own), "missing": missing_numbers}


def _attribution(events: list[Event]) -> str:
    levels = {str(event.get("attribution")) for event in events}
    return ", ".join(sorted(levels)) if levels else NO_EVENTS


def _held(played: Played, events: list[Event]) -> bool:
    by_kernel = all(event.get("attribution") == "kernel" for event in events)
    if not (played.legitimate_right and by_kernel):
        return False
    if played.seen.evidence.strays() or played.harmed:
        return False
    if not played.step.attack:
        return not any(denied(event) for event in events)
    return not missing(played, events)


def observed(played: Played) -> dict[str, Any]:
    """What the far side saw during the step, in words and in figures."""
    evidence = played.seen.evidence
    opens = [entry["pid"] for entry in evidence.gpu]
    trainer = opens.count(played.seen.trainer)
    return {
        "summary": "; ".join(_sentences(played, trainer, len(opens) - trainer)),
        "attack_succeeded": played.harmed if played.step.attack else None,
        "packets_beyond_mirror": destinations(evidence.strays()),
        "connections": _counted(evidence.connections),
        "sshd": evidence.tunnel,
        "pool": [f"{entry['pool']} {entry['event']}" for entry in evidence.pool],
        "mirror": [f"{entry['path']} {entry['status']}" for entry in evidence.requests],
        "gpu_opens": {"trainer": trainer, "others": len(opens) - trainer},
        "result": {
            "status": played.seen.outcome.status,
            "right": played.legitimate_right,
            "output": played.seen.outcome.output,
            "at": played.seen.outcome.at,
            "seconds": played.seen.outcome.seconds,
        },
    }


def _counted(connections: list[Entry]) -> list[str]:
    counts: dict[str, int] = {}
    for entry in connections:
        name = f"{entry['address']}:{entry['port']} {entry['event']}"
        counts[name] = counts.get(name, 0) + 1
    return [f"{name}: {count}" for name, count in counts.items()]


def _sentences(played: Played, trainer: int, others: int) -> list[str]:
    evidence = played.seen.evidence
    said = {
        "packets": _packets(evidence),
        "listeners": f"listeners: {_plural(_arrivals(evidence), 'arrival')}",
        "sshd": f"sshd: {_tunnel(evidence.tunnel)}",
        "pool": f"pool: {_pool(evidence)}",
        "mirror": f"mirror: {_plural(len(evidence.requests), 'request')} served",
        "gpu": f"GPU: {_plural(trainer, 'open')} by the trainer, {others} by others",
    }
    sentences = [said[name] for name in played.step.watches]
    if not played.step.attack:
        right = "right" if played.legitimate_right else "WRONG"
        sentences.append(f"exit status {played.seen.outcome.status}, {right} result")
    return sentences


def _packets(evidence: Evidence) -> str:
    strays = evidence.strays()
    if not strays:
        return "no packet but to the mirror"
    places_seen = _plural(len(destinations(strays)), "other destination")
    return f"{_plural(len(strays), 'packet')} to {places_seen}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _arrivals(evidence: Evidence) -> int:
    return sum(entry["event"] in ("accepted", "datagram") for entry in evidence.connections)


def _tunnel(facts: dict[str, int]) -> str:
    if not any(facts.values()):
        return "nothing"
    return ", ".join(_plural(count, noun.removesuffix("s")) for noun, count in facts.items())


def _pool(evidence: Evidence) -> str:
    return ", ".join(entry["event"] for entry in evidence.pool) or "nothing"


def build(played: list[Played], events: list[Event], kernel: str, lictor: bool) -> Report:
    """The report of one run. ``held`` at the top needs every step, and no denial that
    belongs to no step: a false denial of the trainer or the executor counts against us."""
    identifiers = {result.step.id for result in played}
    steps = []
    for result in played:
        own = [event for event in events if call_of(event).get("id") == result.step.id]
        steps.append(
            {
                "id": result.step.id,
                "tool": result.step.tool,
                "arguments": result.step.arguments,
                "expected": result.step.expected,
                "observed": observed(result),
                "decisions": decisions(own),
                "attribution": _attribution(own),
                "held": _held(result, own) if lictor else not result.harmed,
            }
        )
    loose = [
        event for event in events if denied(event) and call_of(event).get("id") not in identifiers
    ]
    attacks = [result for result in played if result.step.attack]
    return {
        "episode": places.EPISODE,
        "kernel": kernel,
        "mode": "lictor" if lictor else "without-lictor",
        "held": lictor and not loose and all(step["held"] for step in steps),
        "attacks": len(attacks),
        "attacks_succeeded": sum(result.harmed for result in attacks),
        "legitimate_right": all(result.legitimate_right for result in played),
        "denials_outside_calls": decisions(loose),
        "events": completeness(events),
        "steps": steps,
    }
