# SPDX-License-Identifier: Apache-2.0
"""What the canaries have shown so far: the newest, and since when the node enforces or does not.

Loader and agent judge each canary by the state before and keep the result in /run, where whoever
says how this node is finds it.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field

from enforcer import paths

ATTEMPTS = ("connect", "send", "device", "exec")
PERIOD_SECONDS = 60.0
LIMIT_SECONDS = 30.0
"""A canary that takes longer is ended: it could not run."""
FAILURES = 2
"""So many in a row that could not run count as not enforcing."""

_HAPPENED = frozenset({"done", "connected", "sent", "started"})


@dataclass(frozen=True)
class CanaryReport:
    """What each attempt met: `denied`, or what happened instead. error: why none was made."""

    results: dict[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def enforcing(self) -> bool:
        """Whether every attempt was really denied."""
        return all(self.results.get(attempt) == "denied" for attempt in ATTEMPTS)

    @property
    def conclusive(self) -> bool:
        """Whether it shows anything: all was denied, or something was not."""
        return self.enforcing or not _HAPPENED.isdisjoint(self.results.values())

    @property
    def problem(self) -> str:
        """What is wrong, a sentence; empty if all was denied."""
        if self.enforcing:
            return ""
        failed = {name: result for name, result in self.results.items() if result != "denied"}
        verb = "was not denied" if self.conclusive else "could not run"
        return f"the canary {verb}: {self.error or failed}"


@dataclass(frozen=True)
class CanaryState:
    """The newest canary, and what follows.

    enforcing: None until a canary was conclusive; since: when that began; time: of the newest
    canary. Both in Unix seconds; monotonic is the latter on the clock that nobody sets. period:
    seconds to the next canary. failures: how many in a row could not run. problem: the newest's.
    """

    enforcing: bool | None
    since: float
    time: float
    monotonic: float
    period: float
    failures: int
    problem: str
    results: dict[str, str]

    @property
    def overdue(self) -> bool:
        """Whether there should have been another by now, twice over."""
        return time.monotonic() - self.monotonic > FAILURES * self.period + LIMIT_SECONDS


def judge(before: CanaryState | None, report: CanaryReport, period: float) -> CanaryState:
    """The state after a canary. What got through counts at once, one that could not run later."""
    now = time.time()
    failures = 0 if report.conclusive else (before.failures if before else 0) + 1
    enforcing = before.enforcing if before else None
    if report.conclusive:
        enforcing = report.enforcing
    elif failures >= FAILURES:
        enforcing = False
    unchanged = before is not None and before.enforcing is enforcing
    return CanaryState(
        enforcing=enforcing,
        since=before.since if before and unchanged else now,
        time=now,
        monotonic=time.monotonic(),
        period=period,
        failures=failures,
        problem=report.problem,
        results=report.results,
    )


def read_state() -> CanaryState | None:
    """What was kept; None if no canary has run yet. ValueError names a damaged file."""
    try:
        return CanaryState(**json.loads(paths.CANARY_STATE.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{paths.CANARY_STATE}: damaged: {error}") from None


def keep(report: CanaryReport, period: float | None = None) -> CanaryState:
    """Judge a canary and keep what follows. period: None leaves it as it is."""
    try:
        before = read_state()
    except ValueError:
        # What was known is lost; this canary stands for itself.
        before = None
    if period is None:
        period = before.period if before else PERIOD_SECONDS
    state = judge(before, report, period)
    paths.write_atomically(paths.CANARY_STATE, json.dumps(asdict(state), indent=1) + "\n")
    return state
