# SPDX-License-Identifier: Apache-2.0
"""A node says that it enforces only if a canary showed it lately and the programs are there."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enforcer import canary_state, paths, pins
from enforcer.canary_state import ATTEMPTS, CanaryReport
from enforcer.condition import node_condition

LOAD = {"mode": "lsm", "time": 5000.0, "enforcing": True, "program_set": 2, "problems": []}
DENIED = CanaryReport(dict.fromkeys(ATTEMPTS, "denied"))
OPEN = CanaryReport({**DENIED.results, "send": "sent"})
BROKEN = CanaryReport(error="no room")


@pytest.fixture(autouse=True)
def _loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "LOADER_REPORT", tmp_path / "loader.json")
    monkeypatch.setattr(paths, "CANARY_STATE", tmp_path / "canary.json")
    monkeypatch.setattr(pins, "sets", lambda: [2])


def loaded(**fields: Any) -> None:
    paths.LOADER_REPORT.write_text(json.dumps({**LOAD, **fields}))


def condition(owner: int | None = 2) -> tuple[bool, str | None, str]:
    found = node_condition(owner)
    return found["enforcing"], found["mode"], found["problem"]


@pytest.mark.parametrize("owner", [2, None])
def test_a_node_that_was_tried_enforces(owner: int | None) -> None:
    loaded()
    canary_state.keep(DENIED)
    assert condition(owner) == (True, "lsm", "")


@pytest.mark.parametrize(
    ("owner", "fields", "problem"),
    [
        (1, {}, "program set 2 is gone (lictor up)"),
        (0, {}, "program set 2 is gone (lictor up)"),
        (2, {"program_set": 7}, "program set 7 is gone (lictor up)"),
        (2, {"error": "exec_bprm_check: -22"}, "exec_bprm_check: -22"),
        (2, {"problems": ["policy rl: x", "policy b: y"]}, "policy rl: x; policy b: y"),
    ],
)
def test_a_load_that_does_not_enforce_says_why(
    owner: int, fields: dict[str, Any], problem: str
) -> None:
    loaded(**fields)
    canary_state.keep(DENIED)
    assert condition(owner) == (False, "lsm", problem)


@pytest.mark.parametrize(
    ("reports", "problem"),
    [
        ([], "no canary has run"),
        ([DENIED, OPEN], "the canary was not denied: {'send': 'sent'}"),
        ([DENIED, BROKEN, BROKEN], "the canary could not run: no room"),
        ([BROKEN], "the canary could not run: no room"),
    ],
)
def test_a_canary_that_was_not_denied_says_so(reports: list[CanaryReport], problem: str) -> None:
    loaded()
    for report in reports:
        canary_state.keep(report)
    assert condition() == (False, "lsm", problem)


def test_the_newest_canary_counts_and_not_that_of_the_load() -> None:
    loaded(enforcing=False, canary={"send": "sent"})
    canary_state.keep(OPEN)
    canary_state.keep(DENIED)
    assert condition()[0] is True


def test_one_canary_that_could_not_run_is_no_verdict_yet() -> None:
    loaded()
    canary_state.keep(DENIED)
    canary_state.keep(BROKEN)
    assert condition() == (True, "lsm", "")


def test_every_reason_is_said() -> None:
    loaded(problems=["policy rl: x"])
    canary_state.keep(OPEN)
    found = node_condition(2)
    assert found["problem"] == "policy rl: x; the canary was not denied: {'send': 'sent'}"
    assert found["enforcing_since"] == 5000.0


def test_silence_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded()
    kept = canary_state.keep(DENIED)
    old = replace(kept, monotonic=kept.monotonic - 3600)
    monkeypatch.setattr(canary_state, "read_state", lambda: old)
    found = node_condition(2)
    assert found["enforcing"] is False
    assert found["problem"] == "the last canary is too long ago: does the agent run?"
    assert (found["enforcing_since"], found["canary_at"]) == (None, kept.time)


def test_since_when_and_when_last(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded()
    canary_state.keep(DENIED)
    kept = canary_state.keep(DENIED)
    found = node_condition(2)
    assert (found["enforcing_since"], found["canary_at"]) == (kept.since, kept.time)
    # What was before the last load nobody claims.
    loaded(time=time.time() + 60)
    assert node_condition(2)["enforcing_since"] > kept.since
    turned = canary_state.keep(OPEN)
    assert node_condition(2)["enforcing_since"] == turned.since


def test_a_node_without_programs_does_not() -> None:
    assert node_condition(0) == {
        "enforcing": False, "mode": None, "problem": "no programs are loaded (lictor up)",
        "enforcing_since": None, "canary_at": None,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"mode": "lsm"}'])
def test_a_damaged_report_is_named(text: str) -> None:
    paths.LOADER_REPORT.write_text(text)
    found = node_condition(2)
    assert found["enforcing"] is False
    assert found["problem"].startswith(f"{paths.LOADER_REPORT}: damaged: ")


def test_a_damaged_state_is_named() -> None:
    loaded()
    paths.CANARY_STATE.write_text("{")
    assert node_condition(2)["problem"].startswith(f"{paths.CANARY_STATE}: damaged: ")
