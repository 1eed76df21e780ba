# SPDX-License-Identifier: Apache-2.0
"""The episode's record holds only if it tells every denied call, and says that it is complete."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.replay import episode, page
from tests.replay.lictor_command import LictorCommand
from tests.replay.trajectory import STEPS
from tests.unit.replay import samples
from tests.unit.replay.test_report_forms import full_report

ATTACKS = [step.id for step in STEPS if step.denials]


def events() -> list[dict[str, Any]]:
    return [event for step in STEPS for event in samples.good_events(step.id)]


def incident(call: str, count: int = 9) -> dict[str, Any]:
    return {
        "id": f"i-{call}", "call": call, "denied": count, "title": "connect <denied>",
        "severity": "medium", "attribution": "kernel",
    }  # fmt: skip


def record(calls: list[str], *, complete: bool = True) -> dict[str, Any]:
    return {
        "incidents": [incident(call) for call in calls],
        "completeness": {"complete": complete, "statement": "nothing is missing"},
        "calls": calls,
    }


def test_a_record_of_every_denied_call_holds() -> None:
    account = episode.account(record(ATTACKS), events())
    assert account["held"]
    assert account["calls"] == len(ATTACKS)


@pytest.mark.parametrize(
    "lacking",
    [record(ATTACKS[1:]), record(ATTACKS, complete=False), record([])],
    ids=["a call", "completeness", "everything"],
)
def test_a_record_that_lacks_something_does_not_hold(lacking: dict[str, Any]) -> None:
    assert not episode.account(lacking, events())["held"]


def test_the_record_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.replay.episode.time.sleep", lambda _: None)
    answers = iter([record([]), record(ATTACKS, complete=False), record(ATTACKS)])

    class Lictor:
        def episode(self, _identifier: str) -> dict[str, Any]:
            return next(answers)

    said: list[str] = []
    found = episode.gather(cast("LictorCommand", Lictor()), events(), said.append)
    assert found["completeness"]["complete"]
    assert len(said) == 2


def test_the_page_has_each_calls_incidents_and_the_statement() -> None:
    report = full_report()
    report["record"] = episode.account(record(ATTACKS), events())
    made = page.render(report)
    assert made.count("connect &lt;denied&gt;") == len(ATTACKS)
    assert "nothing is missing" in made
