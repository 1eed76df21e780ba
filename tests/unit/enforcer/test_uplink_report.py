# SPDX-License-Identifier: Apache-2.0
"""A report says what the agent says, what waits, and which containers nothing covers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.records import NodeReport, WorkloadReport
from enforcer import VERSION, canary_state, cgroups, paths, uplink_report
from enforcer.canary_state import ATTEMPTS, CanaryReport
from enforcer.uplink_report import (
    NOT_ARMED,
    NOT_SELECTED,
    covered_workloads,
    is_container,
    node_report,
    uncovered_containers,
)
from enforcer.uplink_state import SpoolPlace, UplinkState

ROW = {
    "id": 7, "path": "/rl.slice/job", "policy": "rl", "armed": True, "events": 9, "delivered": 5,
    "suppressed": 1, "lost_denials": 2, "lost_activity": 1,
}  # fmt: skip
STATUS: dict[str, Any] = {
    "release": "9.9", "enforcing": True, "mode": "lsm", "problem": "", "unwritten": 3,
    "undecodable": 4, "revisions": {"rl": 2, "gone": 5}, "workloads": [ROW],
}  # fmt: skip
DENIED = CanaryReport(dict.fromkeys(ATTEMPTS, "denied"))
STATE = UplinkState(SpoolPlace(lost=11), refused=12)
HEX = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def _no_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "LOADER_REPORT", tmp_path / "loader.json")
    monkeypatch.setattr(paths, "CANARY_STATE", tmp_path / "canary.json")


def report(status: dict[str, Any] | None, workloads: list[WorkloadReport]) -> NodeReport:
    return node_report(status, boot="b", state=STATE, waiting=99, workloads=workloads)


def test_a_report_holds_what_the_agent_says() -> None:
    found = report(STATUS, covered_workloads(STATUS["workloads"]))
    assert (found.boot, found.version, found.enforcing, found.mode) == ("b", "9.9", True, "lsm")
    assert (found.problem, found.policies) == ("", {"rl": 2, "gone": 5})
    assert (found.spool_dropped, found.spool_waiting_bytes, found.refused) == (11, 99, 12)
    assert (found.unwritten, found.undecodable) == (3, 4)
    assert found.workloads == [
        WorkloadReport(
            id=7, path="/rl.slice/job", policy="rl", covered=True, events=9, delivered=5,
            suppressed=1, lost=3,
        )
    ]  # fmt: skip


def test_an_exemption_is_reported_with_its_reason() -> None:
    [found] = covered_workloads([{**ROW, "exempt_until": 1.5e9, "exempt_reason": "why"}])
    assert (found.exempt_until, found.exempt_reason) == (1.5e9, "why")


def test_a_workload_that_is_not_armed_or_has_gone_says_so() -> None:
    [found] = covered_workloads([{**ROW, "armed": False, "path": None}])
    assert (found.covered, found.reason, found.path) == (True, NOT_ARMED, "cgroup-7")


def test_a_report_says_since_when_and_when_it_was_tried() -> None:
    found = report({**STATUS, "enforcing_since": 1000.0, "canary_at": 2000.5}, [])
    assert (found.enforcing_since, found.canary_at) == (1000.0, 2000.5)


def test_without_an_agent_the_last_canary_says_whether_the_node_enforces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = {"mode": "fmod_ret", "time": 5.0, "enforcing": True, "program_set": 3}
    paths.LOADER_REPORT.write_text(json.dumps(load))
    monkeypatch.setattr("enforcer.pins.sets", lambda: [3])
    kept = canary_state.keep(DENIED)
    found = report(None, covered_workloads([ROW]))
    assert (found.enforcing, found.mode, found.version) == (True, "fmod_ret", VERSION)
    assert (found.enforcing_since, found.canary_at) == (kept.since, kept.time)
    assert found.problem == "no agent answers: policies cannot be changed"
    assert len(found.workloads) == 1
    # An agent that found this out and stopped has not made it good.
    canary_state.keep(CanaryReport({**DENIED.results, "exec": "started"}))
    found = report(None, [])
    assert found.enforcing is False
    assert found.problem.endswith("; the canary was not denied: {'exec': 'started'}")


def test_without_anything_loaded_it_says_so() -> None:
    found = report(None, [])
    assert (found.enforcing, found.mode) == (False, None)
    assert found.problem.endswith("; no programs are loaded (lictor up)")


def test_an_older_agent_that_does_not_say_how_it_is_is_no_obstacle() -> None:
    assert report({"workloads": []}, []).problem == "no programs are loaded (lictor up)"


def test_more_workloads_than_fit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uplink_report, "LARGEST_WORKLOADS", 200_000)
    many = covered_workloads([{**ROW, "path": "/x" * 1000, "id": number} for number in range(200)])
    found = report(STATUS, many)
    assert 50 < len(found.workloads) < 200
    left = 200 - len(found.workloads)
    assert found.problem == f"{left} workloads more than one report holds"
    assert len(found.model_dump_json()) < 201_000


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"docker-{HEX}.scope", True), (f"libpod-{HEX}.scope", True), (f"crio-{HEX}.scope", True),
        (f"cri-containerd-{HEX}.scope", True), (HEX, True), (f"libpod-{HEX}", True),
        (f"libpod-conmon-{HEX}.scope", False), (f"crio-conmon-{HEX}.scope", False),
        ("docker.service", False), (HEX[:-1], False), (f"{HEX}0", False), ("", False),
        (f"kubepods-pod{HEX[:32]}.slice", False), (f"docker-{HEX.upper()}.scope", False),
    ],
)  # fmt: skip
def test_containers_are_known_by_the_names_that_runtimes_give(name: str, expected: bool) -> None:
    assert is_container(f"/a.slice/{name}") is expected


def test_containers_outside_every_workload_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    for path in (
        f"system.slice/docker-{HEX}.scope/inner/{HEX}", "system.slice/ssh.service",
        f"rl.slice/libpod-{HEX}.scope", f"machine.slice/libpod-{HEX}.scope",
    ):  # fmt: skip
        (tmp_path / path).mkdir(parents=True)
    covered = covered_workloads([{**ROW, "path": "/rl.slice"}])
    found = uncovered_containers(covered)
    assert [(each.path, each.covered, each.reason) for each in found] == [
        (f"/machine.slice/libpod-{HEX}.scope", False, NOT_SELECTED),
        (f"/system.slice/docker-{HEX}.scope", False, NOT_SELECTED),
    ]
    assert found[1].id == (tmp_path / f"system.slice/docker-{HEX}.scope").stat().st_ino
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "absent")
    assert uplink_report.uncovered_containers([]) == []
