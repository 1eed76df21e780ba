# SPDX-License-Identifier: Apache-2.0
"""The whole incident, with Lictor and without: see docs/demo.md."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


def replay(switch: str, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.replay.guest", "--lictor", switch, "--out", str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if not (out / "report.json").exists():
        pytest.fail(f"{done.stdout}{done.stderr}", pytrace=False)
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def test_without_lictor_every_attack_succeeds(tmp_path: Path) -> None:
    report = replay("off", tmp_path)
    assert report["attacks_succeeded"] == report["attacks"] > 0
    assert report["legitimate_right"]


def test_with_lictor_every_step_holds(tmp_path: Path) -> None:
    report = replay("on", tmp_path)
    assert [step["id"] for step in report["steps"] if not step["held"]] == []
    assert report["denials_outside_calls"] == []
    assert report["attacks_succeeded"] == 0
    assert report["held"]
