# SPDX-License-Identifier: Apache-2.0
"""A node says that it enforces only if its last load showed it and the programs are still there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enforcer import paths, pins
from enforcer.condition import node_condition

REPORT = {"mode": "lsm", "enforcing": True, "program_set": 2, "canary": {}, "problems": []}


@pytest.fixture(autouse=True)
def _loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "LOADER_REPORT", tmp_path / "loader.json")
    monkeypatch.setattr(pins, "sets", lambda: [2])


def condition(owner: int | None, **fields: Any) -> tuple[bool, str | None, str]:
    paths.LOADER_REPORT.write_text(json.dumps({**REPORT, **fields}))
    found = node_condition(owner)
    return found["enforcing"], found["mode"], found["problem"]


@pytest.mark.parametrize("owner", [2, None])
def test_a_node_that_was_tried_enforces(owner: int | None) -> None:
    assert condition(owner) == (True, "lsm", "")


@pytest.mark.parametrize(
    ("owner", "fields", "problem"),
    [
        (1, {}, "program set 2 is gone (lictor up)"),
        (0, {}, "program set 2 is gone (lictor up)"),
        (2, {"program_set": 7}, "program set 7 is gone (lictor up)"),
        (2, {"enforcing": False, "error": "exec_bprm_check: -22"}, "exec_bprm_check: -22"),
        (
            2,
            {"enforcing": False, "canary": {"send": "allowed", "exec": "denied"}},
            "the canary was not denied: {'send': 'allowed'}",
        ),
        (2, {"enforcing": False, "problems": ["policy rl: x"]}, "policy rl: x"),
        (2, {"enforcing": "yes"}, "the last load gave no reason"),
    ],
)
def test_a_node_that_does_not_says_why(owner: int, fields: dict[str, Any], problem: str) -> None:
    assert condition(owner, **fields) == (False, "lsm", problem)


def test_a_node_without_programs_does_not() -> None:
    assert node_condition(0)["problem"] == "no programs are loaded (lictor up)"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_report_is_named(text: str) -> None:
    paths.LOADER_REPORT.write_text(text)
    found = node_condition(2)
    assert found["enforcing"] is False
    assert found["problem"].startswith(f"{paths.LOADER_REPORT}: damaged: ")
