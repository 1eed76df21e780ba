# SPDX-License-Identifier: Apache-2.0
"""`lictor exempt` says what it does, for how long, and what it does not reach."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import pytest

from controlplane.contract.wire import RequestError
from enforcer.cli.exempt import duration
from enforcer.cli.main import main
from tests.unit.enforcer.cli.conftest import StartAgent

PATH = "/rl.slice/job"


def row(**fields: Any) -> dict[str, Any]:
    return {"workload": PATH, "workload_id": 7, "until": time.time() + 60, "remaining": 60.0,
            "reason": "why", "uid": 0, **fields}  # fmt: skip


def begun(_: object) -> dict[str, Any]:
    return {"exemption": row(), "warnings": ["not exempt are the workloads below it: /a"]}


def test_it_asks_for_so_many_seconds_and_warns(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = start_agent("admin", exempt=begun)
    assert main(["exempt", PATH, "--for", "30m", "--reason", "why"]) == 0
    asked = {"workload": PATH, "seconds": 1800, "reason": "why"}
    assert agent.asked("exempt") == [asked]
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert first.startswith(f"lictor: {PATH}: EXEMPT until 2")
    assert f"lictor exempt {PATH} --end" in first
    assert second == "lictor: not exempt are the workloads below it: /a"
    assert captured.out == ""


def test_json_is_the_exemption(start_agent: StartAgent, capsys: pytest.CaptureFixture[str]) -> None:
    start_agent("admin", exempt=begun, exempt_end=begun, exempt_list=lambda _: {
        "exemptions": [row()]
    })  # fmt: skip
    assert main(["exempt", PATH, "--for", "2h", "--reason", "why", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workload"] == PATH
    assert main(["exempt", PATH, "--end", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workload"] == PATH
    assert main(["exempt", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exemptions"][0]["reason"] == "why"


def test_the_list_is_a_table_that_fools_no_terminal(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    start_agent("admin", exempt_list=lambda _: {"exemptions": [row(workload="/a\x1b")]})
    assert main(["exempt", "--list"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["WORKLOAD", "UNTIL", "UID", "REASON"]
    assert line.split()[0] == "/a\\x1b"


def test_an_end_is_asked_for_and_said(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = start_agent("admin", exempt_end=begun)
    assert main(["exempt", PATH, "--end"]) == 0
    assert agent.asked("exempt.end") == [{"workload": PATH}]
    assert capsys.readouterr().err == f"lictor: {PATH}: no longer exempt: its policy holds\n"


def test_a_refusal_is_status_1_and_no_agent_3(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["exempt", "--list"]) == 3

    def refuse(_: object) -> dict[str, Any]:
        raise RequestError("unknown_workload", "workload /x: there is no such workload")

    start_agent("admin", exempt=refuse)
    assert main(["exempt", "/x", "--for", "1s", "--reason", "why"]) == 1
    assert "lictor: workload /x: there is no such workload" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "name a workload, or --list"),
        ([PATH], "--for and --reason are needed, or --end"),
        ([PATH, "--for", "1m"], "--for and --reason are needed"),
        ([PATH, "--reason", "why"], "--for and --reason are needed"),
        ([PATH, "--end", "--reason", "why"], "only one of"),
        ([PATH, "--end", "--list"], "only one of"),
        ([PATH, "--list"], "--list takes no workload"),
        (["--end"], "name a workload"),
    ],
)
def test_a_wrong_use_is_status_2(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["exempt", *words]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200)])
def test_a_duration_has_a_unit(text: str, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "1d", "-1m", "1.5h", "1h30m", "٣m", "1 m"])
def test_what_is_no_duration_is_said_to_be_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a duration such as"):
        duration(text)
