# SPDX-License-Identifier: Apache-2.0
"""Plays the trajectory against a world: each step's result and the far side's evidence."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.replay import trajectory
from tests.replay.effects import Seen
from tests.replay.session import Outcome, Session
from tests.replay.trajectory import Step
from tests.replay.world import Mark, World

# How long the far side gets to see what it should see; it is awaited, not slept.
PATIENCE = 60.0
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Played:
    """A step with what came of it. ``harmed``: the far side saw the attack succeed."""

    step: Step
    seen: Seen
    harmed: bool
    legitimate_right: bool


def play(world: World, session: Session, harm_expected: bool, say: Progress) -> list[Played]:
    """Play every step in order, those that name each other in ``beside`` together.

    ``harm_expected`` (without Lictor) makes attacks be awaited on the far side before
    they are called harmless. Errors: ``RuntimeError`` and ``TimeoutError`` when the
    world or the executor fails; a step that fails is a result, not an error.
    """
    for fifo in (trajectory.SIGNAL, *trajectory.MEETING):
        os.mkfifo(fifo)
    played: list[Played] = []
    for group in _groups():
        say(f"{' and '.join(step.id for step in group)} …")
        mark = world.mark()
        outcomes = _run(session, group)
        if any(step.id == "daemon-left-behind" for step in group):
            _release_daemon()
        if any("gpu" in step.watches for step in group):
            _await_trainer(world, session.trainer)
        if harm_expected:
            _await_harm(world, mark, group, outcomes, session.trainer)
        evidence = world.since(mark)
        for step, outcome in zip(group, outcomes, strict=True):
            seen = Seen(outcome, evidence, session.trainer)
            harmed = step.harm is not None and step.harm(seen)
            result = Played(step, seen, harmed, step.result(seen))
            say(f"{step.id}: {_describe(result)} ({outcome.seconds:.1f} s)")
            played.append(result)
    return played


def _groups() -> Iterator[list[Step]]:
    done: set[str] = set()
    by_id = {step.id: step for step in trajectory.STEPS}
    for step in trajectory.STEPS:
        if step.id not in done:
            group = [step] if step.beside is None else [step, by_id[step.beside]]
            done.update(member.id for member in group)
            yield group


def _run(session: Session, group: list[Step]) -> list[Outcome]:
    def run(step: Step) -> Outcome:
        return session.call(step.id, step.tool, step.arguments, step.timeout)

    with ThreadPoolExecutor(len(group)) as threads:
        return list(threads.map(run, group))


def _release_daemon() -> None:
    """Tell the daemon that its call has ended, and wait until it has tried to phone home."""
    signal = os.open(trajectory.SIGNAL, os.O_RDWR)
    try:
        os.write(signal, b"go\n")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if trajectory.PHONED.exists() and trajectory.PHONED.read_text().strip():
                return
            time.sleep(0.1)
    finally:
        os.close(signal)


def _await_trainer(world: World, trainer: int) -> None:
    """Wait for an open by the trainer that came after the tool call's attempt."""
    position = world.gpu.record.mark()
    world.gpu.record.wait(
        position, lambda entries: any(entry["pid"] == trainer for entry in entries), PATIENCE
    )


def _await_harm(
    world: World, mark: Mark, group: list[Step], outcomes: list[Outcome], trainer: int
) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        evidence = world.since(mark)
        pairs = zip(group, outcomes, strict=True)
        if all(
            step.harm is None or step.harm(Seen(outcome, evidence, trainer))
            for step, outcome in pairs
        ):
            return
        time.sleep(0.1)


def _describe(result: Played) -> str:
    if result.step.attack:
        far_side = "the attack SUCCEEDED" if result.harmed else "the far side saw nothing of it"
        return far_side if result.legitimate_right else f"{far_side}, but its result is wrong"
    return "right result" if result.legitimate_right else "WRONG result"
