# SPDX-License-Identifier: Apache-2.0
"""Pins come and go as a set: what is in force is never half of one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from enforcer import abi, maps, pins
from enforcer.abi import ScopeFlag
from enforcer.programtable import PROGRAMS
from tests.unit.enforcer import fake_pins
from tests.unit.enforcer.fake_pins import FakePins, owned
from tests.unit.enforcer.tables import MemoryMaps

SOCKET_PROGRAMS = {program.function for program in PROGRAMS if program.kind == "cgroup"}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePins:
    return fake_pins.install(tmp_path, monkeypatch)


def test_a_fresh_node_has_no_sets_and_no_owner(node: FakePins) -> None:
    memory: Any = MemoryMaps()
    assert (pins.sets(), pins.owner(memory), pins.armed(1)) == ([], 0, set())


def test_sets_are_told_by_their_numbers(node: FakePins) -> None:
    for number in (10, 9, 2):
        node.load(number)
    assert pins.sets() == [2, 9, 10]
    pins.remove_set(9)
    assert pins.sets() == [2, 10]


def test_the_owner_is_the_set_that_reports(node: FakePins) -> None:
    memory: Any = MemoryMaps()
    memory.control.put(0, owned(7))
    assert pins.owner(memory) == 7


def test_arming_attaches_the_socket_programs_once(node: FakePins) -> None:
    node.load(3)
    cgroup = node.make_cgroup("/rl.slice/a")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (names of descriptors)
    for _ in range(2):
        pins.arm(3, "/rl.slice/a")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert sorted(node.links) == sorted((name, "/rl.slice/a") for name in SOCKET_PROGRAMS)
    assert pins.armed(3) == {cgroup}
    pins.disarm(3, cgroup)
    assert pins.armed(3) == set()
    pins.disarm(3, cgroup)


def test_arming_that_was_cut_short_is_finished_by_the_next(node: FakePins) -> None:
    node.load(3)
    node.make_cgroup("/a")
    node.refused = "egress_cgroup_sendmsg4"
    with pytest.raises(OSError, match="Invalid argument"):
        pins.arm(3, "/a")
    node.refused = None
    pins.arm(3, "/a")
    assert {name for name, _ in node.links} == SOCKET_PROGRAMS
    assert len(node.links) == len(SOCKET_PROGRAMS)


def test_a_cgroup_that_is_gone_is_not_armed(node: FakePins) -> None:
    node.load(3)
    with pytest.raises(FileNotFoundError):
        pins.arm(3, "/gone")
    assert pins.armed(3) == set()


def test_armed_scopes_are_marked_to_the_last_cgroup(node: FakePins) -> None:
    memory: Any = MemoryMaps()
    covered = [node.make_cgroup(path) for path in ("/a", "/a/b", "/a/b/c")]
    beside, uncovered = node.make_cgroup("/ab"), node.make_cgroup("/a/x")
    for cgroup in (*covered, beside):
        memory.scopes.put(cgroup, abi.Scope(workload=covered[0], flags=ScopeFlag.CHILDREN))
    pins.arm_scopes(memory, "/a")
    both = ScopeFlag.CHILDREN | ScopeFlag.ARMED
    assert [memory.scopes.get(cgroup).flags for cgroup in covered] == [both] * 3
    assert memory.scopes.get(beside).flags == ScopeFlag.CHILDREN
    assert memory.scopes.get(uncovered) is None


def test_only_maps_of_other_layouts_are_forgotten(node: FakePins) -> None:
    for layout in (abi.LAYOUT_VERSION, abi.LAYOUT_VERSION + 1, 0):
        (node.root / f"maps-{layout}").mkdir(parents=True)
        (node.root / f"maps-{layout}/scopes").touch()
    (node.root / "tags").touch()
    pins.remove_old_maps()
    assert sorted(path.name for path in node.root.iterdir()) == [
        f"maps-{abi.LAYOUT_VERSION}", "tags",
    ]  # fmt: skip
    assert maps.pin_path("scopes").exists()


def test_removing_everything_leaves_nothing_and_may_be_done_again(node: FakePins) -> None:
    node.load(3)
    (node.root / "tags").touch()
    for _ in range(2):
        pins.remove_everything()
        assert not node.root.exists()
