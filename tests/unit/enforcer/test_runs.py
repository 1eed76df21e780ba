# SPDX-License-Identifier: Apache-2.0
"""A run has a fresh covered cgroup, which goes when nothing is left in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.contract.wire import RequestError
from enforcer import abi, cgroups, gpu, pins, runs
from enforcer.exemptions import Exemption
from enforcer.names import CANARY_SLOT
from enforcer.runs import Runs, workload_rows
from tests.unit.enforcer.test_enforcement import Node, policy


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(gpu, "resolve_gpus", lambda *_: frozenset())
    made = Node(tmp_path, monkeypatch)
    made.enforcement.apply(policy("rl", "/rl.slice/**"))
    return made


@pytest.fixture
def made(node: Node) -> Runs:
    return Runs(node.enforcement, node.store)


def _folders(node: Node) -> list[str]:
    return sorted(path.name for path in (node.pins.cgroups / "lictor.slice").iterdir())


def test_a_run_gets_a_covered_and_armed_cgroup_of_its_own(node: Node, made: Runs) -> None:
    path, cgroup = made.prepare("rl", [])
    assert path == "/lictor.slice/run-rl-1"
    flags = abi.ScopeFlag.ARMED | abi.ScopeFlag.SETTLED
    assert node.scope(path) == (cgroup, 0, node.store.slot("rl"), flags)
    assert ("egress_packet_out", path) in node.pins.links
    assert made.prepare("rl", [])[0] == "/lictor.slice/run-rl-2"


def test_a_cgroup_that_is_there_is_not_used_again(node: Node, made: Runs) -> None:
    node.pins.make_cgroup("/lictor.slice/run-rl-1")
    assert made.prepare("rl", [])[0] == "/lictor.slice/run-rl-2"


def test_grants_are_the_bits_that_the_policy_gave_them(node: Node, made: Runs) -> None:
    from controlplane.contract.policy import parse_policy_object
    from tests.unit.controlplane.contract.documents import whole

    grant = {"exec": {"allow": ["/opt/**"]}}
    document = whole(select=[], grants={"trainer": grant, "tools": grant})
    node.enforcement.apply(parse_policy_object(document, "test"))
    _, cgroup = made.prepare("rl-sandbox", ["tools"])
    bit = node.store.grant_bits("rl-sandbox", ["tools"])["tools"]
    assert node.maps.scopes.get(cgroup).grants == 1 << bit


@pytest.mark.parametrize(
    ("name", "grants", "code", "text"),
    [
        ("absent", [], "unknown_policy", "policy absent: is not in force; in force: rl"),
        ("rl", ["trainer"], "unknown_grant", "policy rl: no grant trainer; it has: none"),
        ("../x", [], "unknown_policy", "policy ../x: is not in force"),
    ],
)
def test_what_is_unknown_is_refused_and_makes_nothing(
    name: str, grants: list[str], code: str, text: str, node: Node, made: Runs
) -> None:
    with pytest.raises(RequestError, match=text) as caught:
        made.prepare(name, grants)
    assert caught.value.code == code
    assert not (node.pins.cgroups / "lictor.slice").exists()


def test_a_finished_run_takes_the_cgroups_below_with_it(node: Node, made: Runs) -> None:
    path, cgroup = made.prepare("rl", [])
    node.pins.make_cgroup(f"{path}/inner/deep")
    assert made.finish(path) is True
    assert _folders(node) == []
    assert cgroup not in pins.armed(1)
    assert made.finish(path) is True


def test_a_run_with_something_left_in_it_stays(node: Node, made: Runs) -> None:
    path, cgroup = made.prepare("rl", [])
    (node.pins.cgroups / path.lstrip("/") / "process").touch()
    assert made.finish(path) is False
    assert cgroup in pins.armed(1)


@pytest.mark.parametrize("path", ["/rl.slice", "/lictor.slice", "/", "", "/lictor.slice/other"])
def test_only_a_runs_cgroup_is_ever_removed(path: str, node: Node, made: Runs) -> None:
    with pytest.raises(RequestError, match="is not a run's cgroup"):
        made.finish(path)
    assert (node.pins.cgroups / "rl.slice").is_dir()


def test_a_sweep_takes_what_is_empty_and_no_longer_held(
    node: Node, made: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, empty, busy = (made.prepare("rl", [])[0] for _ in range(3))
    monkeypatch.setattr(runs, "_populated", lambda path: path == busy)
    node.pins.make_cgroup("/lictor.slice/not-a-run")
    for path in (empty, busy):
        made.release(path)
    made.sweep()
    assert _folders(node) == ["not-a-run", held.rpartition("/")[2], busy.rpartition("/")[2]]
    made.release(held)
    made.sweep()
    assert _folders(node) == ["not-a-run", busy.rpartition("/")[2]]


@pytest.mark.parametrize(
    ("text", "populated"),
    [("populated 1\nfrozen 0\n", True), ("populated 0\nfrozen 0\n", False), (None, False)],
)
def test_a_cgroup_is_populated_as_the_kernel_says(
    text: str | None, populated: bool, node: Node
) -> None:
    node.pins.make_cgroup("/x")
    if text is not None:
        (node.pins.cgroups / "x/cgroup.events").write_text(text)
    assert runs._populated("/x") is populated


def test_rows_are_the_workloads_with_their_counts(node: Node) -> None:
    root = node.pins.make_cgroup("/rl.slice")
    job = node.pins.make_cgroup("/rl.slice/job")
    node.pins.make_cgroup("/rl.slice/job/inner")
    node.enforcement.refresh()
    counts = abi.Workload(sequence=9, delivered=5, suppressed=2, lost_denials=1, lost_activity=1)
    node.maps.workloads.put(job, counts)
    node.maps.scopes.put(99, abi.Scope(workload=99, policy=77))
    until = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 60 * 10**9
    exempt = {root: Exemption(root, "/rl.slice", 2, until, "why", 0)}
    rows = {row["id"]: row for row in workload_rows(node.enforcement, node.store, exempt)}
    assert set(rows) == {root, job, 99}
    assert rows[job] == {
        "id": job, "path": "/rl.slice/job", "policy": "rl", "armed": True, "exempt_until": None,
        "exempt_reason": "", "events": 9,
        "delivered": 5, "suppressed": 2, "lost_denials": 1, "lost_activity": 1,
    }  # fmt: skip
    assert rows[root]["armed"] is True
    assert rows[root]["exempt_until"] == pytest.approx(time.time() + 60, abs=5)
    assert rows[root]["exempt_reason"] == "why"
    assert (rows[99]["path"], rows[99]["policy"], rows[99]["events"]) == (None, "slot-77", 0)


def test_rows_take_one_walk_however_many_there_are(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        node.pins.make_cgroup(f"/rl.slice/{number}")
    node.enforcement.refresh()
    walked: list[str] = []
    walk = cgroups.walk

    def noted(path: str) -> Iterator[tuple[str, int]]:
        walked.append(path)
        return walk(path)

    monkeypatch.setattr(cgroups, "walk", noted)
    assert len(workload_rows(node.enforcement, node.store, {})) == 6
    # Once for itself and once for each folder below.
    assert walked.count("/") == 1


def test_the_canarys_cgroup_is_no_workload_to_anybody(node: Node) -> None:
    cgroup = node.pins.make_cgroup("/lictor-canary")
    node.maps.scopes.put(cgroup, abi.Scope(workload=cgroup, policy=CANARY_SLOT))
    assert cgroup not in {row["id"] for row in workload_rows(node.enforcement, node.store, {})}
