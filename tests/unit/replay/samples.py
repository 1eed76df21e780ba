# SPDX-License-Identifier: Apache-2.0
"""Played steps and events as a run leaves them, for the tests of judge, table and page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.replay import places
from tests.replay.effects import Seen
from tests.replay.play import Played
from tests.replay.session import Outcome
from tests.replay.trajectory import STEPS, Denial, Step
from tests.replay.world import Evidence

TRAINER = 4242
NOTHING = Evidence(
    packets=[],
    connections=[],
    tunnel={"connections": 0, "logins": 0, "forwards": 0},
    pool=[],
    requests=[],
    gpu=[],
)
MIRROR_PACKET = {
    "protocol": "tcp",
    "destination": places.MIRROR_ADDRESS,
    "port": places.MIRROR_PORT,
    "length": 60,
}
STRAY_PACKET = {**MIRROR_PACKET, "destination": places.POOL_ADDRESS, "port": 3333}


def step(identifier: str) -> Step:
    """A step of the trajectory by its id."""
    return next(step for step in STEPS if step.id == identifier)


def outcome(status: int | None = 0, output: str = "") -> Outcome:
    trainer = {"pid": TRAINER, "opens": 9, "failures": 0}
    return Outcome(status=status, output=output, at=3.5, seconds=1.25, trainer=trainer)


def played(
    identifier: str,
    evidence: Evidence = NOTHING,
    *,
    harmed: bool = False,
    right: bool = True,
    output: str = "",
) -> Played:
    seen = Seen(outcome(output=output), evidence, TRAINER)
    return Played(step(identifier), seen, harmed, right)


def event(identifier: str | None, denial: Denial, **changed: object) -> dict[str, Any]:
    """The event of a denial; without an identifier it has no tool call."""
    call = {"id": identifier, "episode": places.EPISODE, "tool": "shell", "state": denial.state}
    made = {
        "workload_id": 7,
        "sequence": 1,
        "kind": denial.kind,
        "object": {"protocol": "tcp", "class": "nvidia", **denial.object},
        "decision": "denied",
        "policy": places.POLICY,
        "revision": 1,
        "rule": None,
        "reason": "no rule allows it",
        "tag": {"call": call if identifier is not None else None},
        "attribution": "kernel",
    }
    return {**made, **changed}


def good_events(identifier: str) -> list[dict[str, Any]]:
    """One event for each denial that the step calls for."""
    return [event(identifier, denial) for denial in step(identifier).denials]


def with_packet(packet: dict[str, Any]) -> Evidence:
    return replace(NOTHING, packets=[packet])
