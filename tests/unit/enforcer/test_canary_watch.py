# SPDX-License-Identifier: Apache-2.0
"""A canary each period; loud as long as the node does not enforce."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loguru import logger

from controlplane.contract import supervision
from enforcer import canary_state, canary_watch, paths
from enforcer.canary_state import ATTEMPTS, CanaryReport
from enforcer.canary_watch import CanaryWatch

DENIED = CanaryReport(dict.fromkeys(ATTEMPTS, "denied"))
OPEN = CanaryReport({**DENIED.results, "send": "sent"})
BROKEN = CanaryReport(error="no room")
NOT_DENIED = "NOT ENFORCING: the canary was not denied: {'send': 'sent'}"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """(level, text) of the log, and ("STATUS", text) of what the service manager hears."""
    lines: list[tuple[str, str]] = []
    monkeypatch.setattr(supervision, "tell", lambda text: lines.append(("STATUS", text)))
    sink = logger.add(lambda line: lines.append(_parts(line)), format="{level}|{message}")
    yield lines
    logger.remove(sink)


def _parts(line: str) -> tuple[str, str]:
    level, _, text = line.strip().partition("|")
    return level, text


@pytest.fixture(autouse=True)
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CANARY_STATE", tmp_path / "canary.json")


def condition() -> dict[str, Any]:
    state = canary_state.read_state()
    enforcing = state is not None and state.enforcing is True
    return {"enforcing": enforcing, "mode": "lsm", "problem": state.problem if state else "none"}


def watch(*reports: CanaryReport) -> None:
    made = CanaryWatch(60, _never, condition)
    for report in reports:
        made.learn(report)


async def _never() -> CanaryReport:
    raise AssertionError("not asked for")


def test_not_enforcing_is_said_each_time_and_enforcing_once(said: list[tuple[str, str]]) -> None:
    watch(DENIED, DENIED, OPEN, OPEN, DENIED, DENIED)
    assert [level for level, _ in said if level != "STATUS"] == ["INFO", "ERROR", "ERROR", "INFO"]
    assert said.count(("ERROR", NOT_DENIED)) == 2
    told = [text for level, text in said if level == "STATUS"]
    assert told == [
        "enforcing (lsm)", "enforcing (lsm)", NOT_DENIED, NOT_DENIED, "enforcing (lsm)",
        "enforcing (lsm)",
    ]  # fmt: skip


def test_a_canary_that_could_not_run_is_a_warning_first(said: list[tuple[str, str]]) -> None:
    watch(DENIED, BROKEN, BROKEN, BROKEN)
    text = "the canary could not run: no room"
    assert [line for line in said if line[0] != "STATUS"] == [
        ("INFO", "enforcing: all that the canary tried was denied"),
        ("WARNING", f"{text}; once more, and this node is not enforcing"),
        ("ERROR", f"NOT ENFORCING: {text}"),
        ("ERROR", f"NOT ENFORCING: {text}"),
    ]


def test_a_state_that_cannot_be_kept_is_said(
    said: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/run/lictor/canary.json")

    monkeypatch.setattr(paths, "write_atomically", full)
    watch(DENIED)
    assert said[0][0] == "ERROR"
    assert "No space left on device" in said[0][1]
    assert said[1] == ("ERROR", "NOT ENFORCING: none")


def test_a_canary_runs_at_once_and_then_each_period(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    started: list[float] = []
    takes = iter((0.5, 0.0, 80.0, 1.0, 1.0))

    async def canary() -> CanaryReport:
        nonlocal now
        started.append(now)
        now += next(takes)
        return DENIED

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if len(started) == 5:
            raise asyncio.CancelledError

    monkeypatch.setattr(canary_watch, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(canary_watch, "asyncio", SimpleNamespace(sleep=sleep))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(CanaryWatch(60, canary, condition).run())
    # What one takes counts; one that takes longer than the period puts the next ones off.
    assert started == [100, 160, 220, 300, 360]
