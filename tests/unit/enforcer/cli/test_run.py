# SPDX-License-Identifier: Apache-2.0
"""`lictor run`: a command starts inside its new cgroup, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.wire import RequestError
from tests.unit.enforcer.cli.conftest import StartAgent
from tests.unit.enforcer.cli.test_call import lictor
from tests.unit.enforcer.fake_agent import FakeAgent

StartRun = Callable[..., FakeAgent]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A folder that stands for the new cgroup."""
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


@pytest.fixture
def start_run(start_agent: StartAgent, job: Path) -> StartRun:
    """An agent whose runs get `job` for a cgroup."""
    cgroup = f"/../../..{job}"

    def start(**operations: Any) -> FakeAgent:
        usual: dict[str, Any] = {
            "run_prepare": lambda _: {"cgroup": cgroup, "workload": 5},
            "run_finish": lambda _: {"removed": True},
        }
        return start_agent("admin", **{**usual, **operations})

    return start


def test_a_command_runs_in_its_cgroup_which_is_removed_after_it(
    start_run: StartRun, job: Path
) -> None:
    agent = start_run()
    words = ["--policy", "rl", "--grant", "a", "--grant", "b", "--episode", "e"]
    ended = lictor("run", *words, "--", "sh", "-c", f"cat {job}/cgroup.procs; exit 7")
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "0", "")
    assert agent.asked("run.prepare") == [{"policy": "rl", "grants": ["a", "b"], "episode": "e"}]
    assert agent.asked("run.finish") == [{"cgroup": f"/../../..{job}"}]
    assert agent.asked("run.begin") == []


def test_a_call_is_begun_before_and_ended_after_the_command(
    start_run: StartRun, tmp_path: Path
) -> None:
    mark = tmp_path / "started"
    seen: list[bool] = []

    def begin(_: dict[str, Any]) -> dict[str, Any]:
        seen.append(mark.exists())
        return {"call": 9}

    agent = start_run(run_begin=begin)
    words = ["--policy", "rl", "--call", "c-1", "--tool", "bash"]
    assert lictor("run", *words, "--", "touch", str(mark)).returncode == 0
    assert (seen, mark.exists()) == ([False], True)
    assert agent.asked("run.begin")[0]["id"] == "c-1"
    assert agent.asked("run.finish")[0]["call"] == 9


def _refuse(_: dict[str, Any]) -> dict[str, Any]:
    raise RequestError("refused", "policy rl: is not in force; in force: observe")


@pytest.mark.parametrize("operation", ["run_prepare", "run_begin"])
def test_a_refused_run_starts_nothing(operation: str, start_run: StartRun, tmp_path: Path) -> None:
    agent = start_run(**{operation: _refuse})
    mark = tmp_path / "started"
    ended = lictor("run", "--policy", "rl", "--call", "c", "--", "touch", str(mark))
    assert ended.returncode == 125
    assert ended.stderr == "lictor: policy rl: is not in force; in force: observe\n"
    assert not mark.exists()
    assert len(agent.asked("run.finish")) == (operation == "run_begin")


def test_a_command_that_cannot_enter_its_cgroup_does_not_start(
    start_run: StartRun, job: Path, tmp_path: Path
) -> None:
    agent = start_run()
    job.rmdir()
    mark = tmp_path / "started"
    ended = lictor("run", "--policy", "rl", "--", "touch", str(mark))
    assert ended.returncode == 125
    assert "the command could not enter its cgroup" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not mark.exists()
    assert len(agent.asked("run.finish")) == 1


def test_a_file_is_applied_first(start_run: StartRun, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(b"kind: Policy \xff")
    agent = start_run(policy_apply=lambda _: {"policy": {"name": "mine"}})
    assert lictor("run", "--policy", str(path), "--", "true").returncode == 0
    assert agent.asked("policy.apply") == [{"source": str(path), "text": b"kind: Policy \xff"}]
    assert agent.asked("run.prepare")[0]["policy"] == "mine"


def test_a_file_that_is_not_there_starts_nothing(start_run: StartRun, tmp_path: Path) -> None:
    start_run()
    ended = lictor("run", "--policy", str(tmp_path / "absent.yaml"), "--", "true")
    assert ended.returncode == 125
    assert "absent.yaml" in ended.stderr


def test_what_a_command_leaves_behind_is_said(start_run: StartRun) -> None:
    start_run(run_finish=lambda _: {"removed": False})
    ended = lictor("run", "--policy", "rl", "--", "true")
    assert ended.returncode == 0
    assert "processes still run in" in ended.stderr


def test_no_agent_starts_nothing(tmp_path: Path) -> None:
    ended = lictor("run", "--policy", "rl", "--", "touch", str(tmp_path / "started"))
    assert (ended.returncode, (tmp_path / "started").exists()) == (125, False)
