# SPDX-License-Identifier: Apache-2.0
"""`lictor workloads` adds up what went missing, and says what is not armed."""

from __future__ import annotations

import json

import pytest

from enforcer.cli.main import main
from tests.unit.enforcer.cli.conftest import StartAgent

COUNTS = {"suppressed": 2, "lost_denials": 3, "lost_activity": 4}
ROWS = [
    {"id": 7, "path": "/rl.slice/a\n", "policy": "rl", "armed": True, "events": 9, **COUNTS},
    {"id": 8, "path": None, "policy": "rl", "armed": False, "events": 0,
     **dict.fromkeys(COUNTS, 0)},
]  # fmt: skip
STATUS = {"node": "n", "pid": 1, "workloads": ROWS, "spool_dropped": 5, "undecodable": 0,
          "unwritten": 0}  # fmt: skip


def test_a_row_has_the_sum_of_what_went_missing(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    start_agent("admin", status=lambda _: STATUS)
    assert main(["workloads"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["WORKLOAD", "POLICY", "EVENTS", "MISSING", "ARMED"],
        ["/rl.slice/a\\n", "rl", "9", "9", "yes"],
        ["-", "rl", "0", "0", "NO"],
    ]


def test_json_has_every_count(start_agent: StartAgent, capsys: pytest.CaptureFixture[str]) -> None:
    start_agent("admin", status=lambda _: STATUS)
    assert main(["workloads", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["workloads"] == ROWS
    assert found["spool_dropped"] == 5
