# SPDX-License-Identifier: Apache-2.0
"""`lictor call`: a command starts bound to its call, or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.wire import RequestError
from enforcer.cli.main import main
from tests.unit.enforcer.cli.conftest import StartAgent


def lictor(*words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as an executor starts it."""
    return subprocess.run(
        [sys.executable, "-m", "enforcer.cli.main", *words],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


def begun(_: dict[str, Any]) -> dict[str, Any]:
    return {"call": 42, "episode": None}


def nothing(_: dict[str, Any]) -> dict[str, Any]:
    return {}


def test_a_command_runs_between_begin_and_end(start_agent: StartAgent) -> None:
    agent = start_agent("calls", begin=begun, end=nothing)
    ended = lictor(
        "call", "exec", "--id", "c-1", "--episode", "e-1", "--step", "3", "--tool", "bash",
        "--arguments", '{"cmd": "ls"}', "--", "sh", "-c", "echo $$; exit 7",
    )  # fmt: skip
    assert ended.returncode == 7
    assert agent.asked("begin") == [
        {"id": "c-1", "episode": "e-1", "step": 3, "tool": "bash", "arguments": {"cmd": "ls"},
         "hold": True, "target": int(ended.stdout)},
    ]  # fmt: skip
    assert agent.asked("end") == [{"call": 42}]


def test_the_call_is_begun_before_the_command_starts(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    mark = tmp_path / "started"
    seen: list[bool] = []

    def begin(_: dict[str, Any]) -> dict[str, Any]:
        seen.append(mark.exists())
        return {"call": 1}

    start_agent("calls", begin=begin, end=nothing)
    assert lictor("call", "exec", "--id", "c", "--", "touch", str(mark)).returncode == 0
    assert (seen, mark.exists()) == ([False], True)


def test_a_commands_own_options_and_dashes_stay_its_own(start_agent: StartAgent) -> None:
    start_agent("calls", begin=begun, end=nothing)
    ended = lictor("call", "exec", "--id", "c", "--", "printf", "%s|", "--id", "--", "-h")
    assert ended.stdout == "--id|--|-h|"


@pytest.mark.parametrize("code", ["inside_call", "no_workload", "episode_mismatch"])
def test_a_refused_call_starts_nothing(code: str, start_agent: StartAgent, tmp_path: Path) -> None:
    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise RequestError(code, "begin: not you")

    agent = start_agent("calls", begin=refuse)
    ended = lictor("call", "exec", "--id", "c", "--", "touch", str(tmp_path / "started"))
    assert ended.returncode == 125
    assert ended.stderr == "lictor: the call was not started: begin: not you\n"
    assert not (tmp_path / "started").exists()
    assert agent.asked("end") == []


@pytest.mark.parametrize("words", [["--step", "9" * 30], ["--tool", "x" * (2 << 20)]])
def test_a_call_that_cannot_be_sent_starts_nothing(
    words: list[str], start_agent: StartAgent, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start_agent("calls", begin=begun)
    mark = tmp_path / "started"
    assert main(["call", "exec", "--id", "c", *words, "--", "touch", str(mark)]) == 125
    assert capfd.readouterr().err.startswith("lictor: the call was not started: a ")
    assert not mark.exists()


def test_no_agent_starts_nothing(tmp_path: Path) -> None:
    ended = lictor("call", "exec", "--id", "c", "--", "touch", str(tmp_path / "started"))
    assert ended.returncode == 125
    assert "no agent answers" in ended.stderr
    assert not (tmp_path / "started").exists()


def test_an_agent_that_is_gone_at_the_end_does_not_change_the_status(
    start_agent: StartAgent,
) -> None:
    start_agent("calls", begin=begun)
    ended = lictor("call", "exec", "--id", "c", "--", "sh", "-c", "exit 3")
    assert ended.returncode == 3
    assert "the call's end was not recorded" in ended.stderr


@pytest.mark.parametrize(
    ("command", "status"),
    [(["sh", "-c", "kill -9 $$"], 137), (["no-such-command"], 127), (["/etc/passwd"], 126)],
)
def test_a_call_ends_with_its_command_however_that_ends(
    command: list[str], status: int, start_agent: StartAgent
) -> None:
    agent = start_agent("calls", begin=begun, end=nothing)
    assert lictor("call", "exec", "--id", "c", "--", *command).returncode == status
    assert agent.asked("end") == [{"call": 42}]


def test_a_running_process_is_bound_by_its_number(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = start_agent("calls", begin=begun, end=nothing)
    assert main(["call", "begin", "--id", "c", "--target", str(os.getpid())]) == 0
    assert capsys.readouterr().out == "42\n"
    assert agent.asked("begin")[0]["target"] == os.getpid()
    assert "hold" not in agent.asked("begin")[0]
    assert main(["call", "end", "42"]) == 0
    assert agent.asked("end") == [{"call": 42}]
