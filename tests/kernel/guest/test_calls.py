# SPDX-License-Identifier: Apache-2.0
"""Every event names the tool call that its process descends from, and no other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from enforcer import cgroups
from tests.kernel.guest.programs import SOURCES, agent_log, run_lictor, wait_until
from tests.kernel.guest.world import Event, Lictor

POLICY = """
apiVersion: lictor/v1
kind: Policy
metadata: {name: executor}
spec:
  mode: enforce
  egress: none
  ingress: none
  exec: any
  devices: {allow: [standard], gpus: none}
  grants:
    trainer: {devices: {gpus: all}}
"""


@pytest.fixture(scope="module")
def told(lictor: Lictor, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the executor once under a policy; its truth, its results and the node's events."""
    del lictor
    file = tmp_path_factory.mktemp("policy") / "executor.yaml"
    file.write_text(POLICY)
    marks = [Path("/tmp/daemon-done"), Path("/tmp/d1-done")]
    for mark in marks:
        mark.unlink(missing_ok=True)
    Path("/tmp/executor-gpu").unlink(missing_ok=True)
    done = subprocess.run(
        ["lictor", "run", "--policy", str(file), "--grant", "trainer", "--episode", "ep", "--",
         "env", "PYTHONPATH=/src/lictor", sys.executable, str(SOURCES / "executor.py")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{agent_log()}"
    wait_until(lambda: all(mark.exists() for mark in marks), "the daemons' attempts")
    told: dict[str, Any] = json.loads(done.stdout)
    told["events"] = _events()
    return told


def _events() -> list[Event]:
    words = ("events", "--json", "--node-only", "--policy", "executor")
    lines = run_lictor(*words).stdout.splitlines()
    return [json.loads(line) for line in lines]


def test_each_connect_is_named_after_the_call_it_descends_from(told: dict[str, Any]) -> None:
    seen = {
        str(event["object"]["port"]): event
        for event in told["events"]
        if event["kind"] == "connect"
    }
    wrong = {}
    for port, (call, state) in told["truth"].items():
        event = seen.get(port)
        named = (event["tag"]["call"] or {}) if event else {"id": "no event"}
        found = (named.get("id"), named.get("state"))
        if found != (call, state):
            wrong[port] = (found, (call, state))
    assert not wrong
    assert all(event["decision"] == "denied" for event in seen.values())


def test_attribution_is_kernel_with_a_call_and_none_without(told: dict[str, Any]) -> None:
    for event in told["events"]:
        named = event["tag"]["call"] is not None
        assert event["attribution"] == ("kernel" if named else "none")


def test_events_carry_the_whole_record_of_the_call(told: dict[str, Any]) -> None:
    calls = {e["tag"]["call"]["id"]: e["tag"]["call"] for e in told["events"] if e["tag"]["call"]}
    assert calls["a1"]["episode"] == "ep"
    assert calls["a1"]["step"] == 3
    assert calls["a1"]["tool"] == "bash"
    # The episode is the workload's, bound from outside, where the message named none.
    assert calls["p1"]["episode"] == "ep"


def test_a_tool_call_loses_the_grants_and_the_trainer_keeps_them(told: dict[str, Any]) -> None:
    missing, denied = "No such device or address", "Operation not permitted"
    assert told["gpu"] == [missing, denied, missing]
    opens = [e for e in told["events"] if e["kind"] == "device" and e["object"]["major"] == 195]
    assert [(e["decision"], e["rule"], e["tag"]["grants"]) for e in opens] == [
        ("allowed", "grants.trainer.devices.gpus", ["trainer"]),
        ("denied", None, []),
        ("allowed", "grants.trainer.devices.gpus", ["trainer"]),
    ]


def test_what_is_forged_is_refused(told: dict[str, Any]) -> None:
    assert told["codes"] == {
        "foreign_thread": "not_yours",
        "process_outside": "no_workload",
        "both": "invalid",
        "no_id": "invalid",
        "long_id": "invalid",
        "other_episode": "episode_mismatch",
        "inside_call": "inside_call\ninside_call",
    }


def test_sequence_numbers_have_no_gap(told: dict[str, Any]) -> None:
    numbers = sorted(event["sequence"] for event in told["events"])
    assert numbers == list(range(1, len(numbers) + 1))


def test_run_names_the_call_and_leaves_no_cgroup(told: dict[str, Any]) -> None:
    del told
    done = run_lictor(
        "run", "--policy", "executor", "--grant", "trainer", "--call", "r1", "--episode", "ep2",
        "--tool", "bash", "--",
        "bash", "-c", "(echo > /dev/tcp/10.99.0.1/10700) 2>/dev/null; exit 7",
    )  # fmt: skip
    assert done.returncode == 7
    assert done.stderr == ""
    (event,) = [e for e in _events() if e["kind"] == "connect" and e["object"]["port"] == 10700]
    assert event["tag"]["call"]["id"] == "r1"
    assert event["tag"]["call"]["episode"] == "ep2"
    assert event["tag"]["grants"] == []
    wait_until(lambda: not cgroups.exists(event["workload"]), "removal of the run's cgroup")


def test_outside_workloads_a_call_is_refused(lictor: Lictor) -> None:
    del lictor
    done = run_lictor("call", "exec", "--id", "x", "--", "touch", "/tmp/never-started")
    assert done.returncode == 125
    assert "is in no workload" in done.stderr
    assert not Path("/tmp/never-started").exists()
