# SPDX-License-Identifier: Apache-2.0
"""Whether this node enforces, by its last load and its newest canary. Nobody else says it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from enforcer import canary_state, paths, pins
from enforcer.canary_state import CanaryState


@dataclass(frozen=True)
class _Load:
    """What the loader reported. problem: why that load does not enforce, its canary aside."""

    mode: str
    time: float
    program_set: int | None
    problem: str


def node_condition(owner: int | None) -> dict[str, Any]:
    """How the node is: enforcing, mode (lsm, fmod_ret or null), problem (empty, or sentences),
    enforcing_since and canary_at (Unix seconds, or null).

    owner: the program set that writes events; None if nobody can say. Enforcing is only what a
    canary was denied under lately, and whose pins are still there. enforcing_since: since when it
    is so, enforcing or not, as far as that is known.
    """
    try:
        load = _read_load()
        canary = canary_state.read_state()
    except FileNotFoundError:
        return _condition(problem="no programs are loaded (lictor up)")
    except ValueError as error:
        return _condition(problem=str(error))
    problems = list(_problems(load, canary, owner))
    since = problems[0][1] if problems else max(load.time, canary.since if canary else 0)
    return _condition(
        enforcing=not problems,
        mode=load.mode,
        problem="; ".join(text for text, _ in problems),
        enforcing_since=since,
        canary_at=canary.time if canary else None,
    )


def _problems(
    load: _Load, canary: CanaryState | None, owner: int | None
) -> Iterator[tuple[str, float | None]]:
    """(why the node does not enforce, since when if that is known), each reason."""
    if load.problem:
        yield load.problem, load.time
    elif load.program_set not in pins.sets() or owner not in (load.program_set, None):
        yield f"program set {load.program_set} is gone (lictor up)", None
    if canary is None:
        yield "no canary has run", load.time
    elif canary.enforcing is not True:
        yield canary.problem, canary.since
    elif canary.overdue:
        yield "the last canary is too long ago: does the agent run?", None


def _read_load() -> _Load:
    """FileNotFoundError without a load, ValueError for a report that cannot be read."""
    try:
        report = json.loads(paths.LOADER_REPORT.read_text(encoding="utf-8"))
        reasons = [report["error"]] if report.get("error") else []
        reasons += report.get("problems") or []
        return _Load(
            mode=report["mode"],
            time=report["time"],
            program_set=report.get("program_set"),
            problem="; ".join(map(str, reasons)),
        )
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{paths.LOADER_REPORT}: damaged: {error}") from None


def _condition(
    *,
    enforcing: bool = False,
    mode: str | None = None,
    problem: str,
    enforcing_since: float | None = None,
    canary_at: float | None = None,
) -> dict[str, Any]:
    return {
        "enforcing": enforcing,
        "mode": mode,
        "problem": problem,
        "enforcing_since": enforcing_since,
        "canary_at": canary_at,
    }
