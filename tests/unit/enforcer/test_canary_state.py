# SPDX-License-Identifier: Apache-2.0
"""What gets through counts at once; what cannot be tried counts the second time."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from enforcer import canary_state, paths
from enforcer.canary_state import ATTEMPTS, CanaryReport, CanaryState, judge, keep, read_state

DENIED = CanaryReport(dict.fromkeys(ATTEMPTS, "denied"))
OPEN = CanaryReport({**DENIED.results, "exec": "started"})
BROKEN = CanaryReport(error="map scopes: update: No space left on device")


@pytest.fixture(autouse=True)
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CANARY_STATE", tmp_path / "canary.json")


def after(*reports: CanaryReport) -> CanaryState:
    state = None
    for report in reports:
        state = judge(state, report, 60)
    assert state is not None
    return state


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("outcome", ["done", "connected", "failed: [Errno 13]", None])
def test_one_attempt_that_is_not_denied_is_not_enforcing(attempt: str, outcome: str | None) -> None:
    assert DENIED.enforcing
    others = {name: result for name, result in DENIED.results.items() if name != attempt}
    report = CanaryReport({**others, attempt: outcome} if outcome else others)
    assert not report.enforcing
    assert report.conclusive is (outcome in ("done", "connected"))


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        (DENIED, ""),
        (OPEN, "the canary was not denied: {'exec': 'started'}"),
        (BROKEN, "the canary could not run: map scopes: update: No space left on device"),
        (
            CanaryReport({"device": "fails outside too: failed: [Errno 2]"}),
            "the canary could not run: {'device': 'fails outside too: failed: [Errno 2]'}",
        ),
    ],
)
def test_what_is_wrong_is_said(report: CanaryReport, problem: str) -> None:
    assert report.problem == problem


@pytest.mark.parametrize(
    ("reports", "enforcing", "failures"),
    [
        ((DENIED,), True, 0),
        ((DENIED, OPEN), False, 0),
        ((OPEN, DENIED), True, 0),
        ((DENIED, BROKEN), True, 1),
        ((DENIED, BROKEN, BROKEN), False, 2),
        ((DENIED, BROKEN, DENIED, BROKEN), True, 1),
        ((DENIED, BROKEN, BROKEN, DENIED), True, 0),
        ((OPEN, BROKEN), False, 1),
        ((BROKEN,), None, 1),
        ((BROKEN, BROKEN), False, 2),
    ],
)
def test_a_state_follows_from_what_canaries_showed(
    reports: tuple[CanaryReport, ...], enforcing: bool | None, failures: int
) -> None:
    found = after(*reports)
    assert (found.enforcing, found.failures) == (enforcing, failures)
    assert found.problem == reports[-1].problem


def test_since_is_when_it_turned() -> None:
    first = replace(after(DENIED), since=10.0)
    assert judge(first, DENIED, 60).since == 10.0
    assert judge(first, BROKEN, 60).since == 10.0
    assert judge(first, OPEN, 60).since == pytest.approx(time.time(), abs=5)


def test_a_canary_that_is_overdue_is_no_evidence() -> None:
    state = after(DENIED)
    assert not state.overdue
    assert not replace(state, monotonic=state.monotonic - 149).overdue
    assert replace(state, monotonic=state.monotonic - 151).overdue


def test_what_is_kept_is_read_again() -> None:
    assert read_state() is None
    kept = keep(DENIED, 5)
    assert read_state() == kept
    assert (kept.enforcing, kept.period, kept.results) == (True, 5, DENIED.results)
    # The loader does not know how often the agent tries.
    assert keep(OPEN).period == 5
    found = read_state()
    assert found is not None
    assert (found.enforcing, found.problem) == (False, OPEN.problem)


def test_the_first_period_is_the_settings_default() -> None:
    assert keep(DENIED).period == canary_state.PERIOD_SECONDS


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"enforcing": true}'])
def test_a_damaged_file_is_named_and_written_anew(text: str) -> None:
    paths.CANARY_STATE.write_text(text)
    with pytest.raises(ValueError, match=r"canary\.json: damaged: "):
        read_state()
    keep(DENIED)
    assert json.loads(paths.CANARY_STATE.read_text())["enforcing"] is True
