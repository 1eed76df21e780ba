# SPDX-License-Identifier: Apache-2.0
"""A revision comes into force whole or not at all, and leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest

from enforcer import abi
from enforcer.compiler import CompiledPolicy
from enforcer.rulesets import Rulesets, wait_for_programs
from tests.unit.enforcer.tables import MemoryMaps, MemoryTable
from tests.unit.enforcer.test_compiler import compiled

SLOT = 3


def _compiled(number: int, *paths: str) -> CompiledPolicy:
    """Entries in every table, for ruleset `number`."""
    policy = compiled(exec={"allow": list(paths)})
    for entries in (policy.destinations, policy.paths, policy.devices):
        for key, _ in entries:
            key.ruleset = number
    return policy


def _numbers(maps: MemoryMaps) -> set[int]:
    """Rulesets that have entries."""
    return {
        key.ruleset
        for table in (maps.destinations, maps.paths, maps.devices)
        for key in list(table.keys())
    }


class Node:
    """Maps, and what was in force at each grace period."""

    def __init__(self) -> None:
        self.maps = MemoryMaps()
        self.graces: list[tuple[int, set[int]]] = []
        self.rulesets = Rulesets(self.maps, grace=self._grace)

    def _grace(self) -> None:
        self.graces.append((self.in_force(), _numbers(self.maps)))

    def in_force(self) -> int:
        return int(self.maps.policies.get(SLOT).ruleset)

    def install(self, *paths: str) -> int:
        number = self.rulesets.free_number()
        self.rulesets.install(SLOT, number, _compiled(number, *paths))
        return number


@pytest.fixture
def node() -> Node:
    return Node()


def test_a_first_revision_is_in_force_with_its_entries(node: Node) -> None:
    number = node.install("/usr/**", "/opt/**")
    assert node.in_force() == number == 1
    assert len(node.maps.paths) == 2
    assert node.maps.rulesets.get(number).mode == abi.Mode.ENFORCE
    assert node.graces == []


def test_the_old_entries_go_only_after_the_switch_and_a_grace_period(node: Node) -> None:
    node.install("/usr/**")
    second = node.install("/opt/**")
    assert node.graces == [(second, {1, second})]
    assert node.in_force() == second
    assert _numbers(node.maps) == {second}
    assert node.maps.rulesets.get(1).mode == 0


def test_numbers_are_used_again(node: Node) -> None:
    assert [node.install("/usr/**") for _ in range(5)] == [1, 2, 1, 2, 1]


def test_a_policy_of_another_slot_is_left_alone(node: Node) -> None:
    other = node.rulesets.free_number()
    node.rulesets.install(SLOT + 1, other, _compiled(other, "/usr/**"))
    for _ in range(3):
        node.install("/opt/**")
    assert node.maps.policies.get(SLOT + 1).ruleset == other
    assert other in _numbers(node.maps)


class Failing:
    """A table that fails in one way from now on, and works else."""

    def __init__(self, table: MemoryTable, failure: str) -> None:
        self._table = table
        self._failure = failure
        self._room = 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def put(self, key: Any, value: Any) -> None:
        erasing = isinstance(value, abi.Ruleset) and not value.mode
        if self._failure == "full" and not erasing:
            self._room -= 1
            if self._room < 0:
                raise OSError(28, "No space left on device", f"map {self._table.name}: update")
        if self._failure == "drops" and not erasing:
            return
        self._table.put(key, value)

    def get(self, key: Any) -> Any:
        value = self._table.get(key)
        if self._failure == "alters" and value is not None:
            altered = type(value).from_buffer_copy(bytes(value))
            first = altered._fields_[0][0]
            setattr(altered, first, getattr(altered, first) ^ 1)
            return altered
        return value


@pytest.mark.parametrize("table", ["destinations", "paths", "devices"])
@pytest.mark.parametrize(
    ("failure", "text"),
    [
        ("full", "No space left"),
        ("alters", "ruleset 2: read back something else than was written"),
        ("drops", "ruleset 2: read back something else than was written"),
    ],
)
def test_a_failure_leaves_the_old_in_force_and_nothing_behind(
    table: str, failure: str, text: str, node: Node
) -> None:
    first = node.install("/usr/**")
    before = {name: len(getattr(node.maps, name)) for name in ("destinations", "paths", "devices")}
    maps: Any = node.maps
    real = getattr(maps, table)
    setattr(maps, table, Failing(real, failure))
    new = compiled(
        egress={"allow": [{"to": "10.0.0.1"}, {"to": "10.0.0.2"}]},
        exec={"allow": ["/opt/**", "/bin/**"]},
        devices={"allow": ["standard"]},
    )
    for entries in (new.destinations, new.paths, new.devices):
        for key, _ in entries:
            key.ruleset = 2
    with pytest.raises(OSError, match=text):
        node.rulesets.install(SLOT, 2, new)
    setattr(maps, table, real)
    assert node.in_force() == first
    assert _numbers(node.maps) == {first}
    assert {name: len(getattr(node.maps, name)) for name in before} == before
    assert node.rulesets.free_number() == 2


def test_a_switch_that_fails_leaves_nothing_behind(node: Node) -> None:
    first = node.install("/usr/**")
    maps: Any = node.maps
    real, maps.policies = maps.policies, Failing(maps.policies, "full")
    maps.policies._room = 0
    with pytest.raises(OSError, match="map policies"):
        node.install("/opt/**")
    maps.policies = real
    assert node.in_force() == first
    assert _numbers(node.maps) == {first}


def test_what_a_killed_agent_left_does_not_come_back_with_its_number(node: Node) -> None:
    """It had written entries, and not yet the head that takes the number."""
    number = node.rulesets.free_number()
    for key, verdict in _compiled(number, "/left/over/**").paths:
        node.maps.paths.put(key, verdict)
    assert node.install("/usr/**") == number
    assert len(node.maps.paths) == 1


def test_all_numbers_in_use_is_said_so(node: Node) -> None:
    for number in range(1, abi.MAX_RULESETS):
        node.maps.rulesets.put(number, abi.Ruleset(mode=abi.Mode.AUDIT))
    with pytest.raises(OSError, match="all 1023 rulesets are in use"):
        node.rulesets.free_number()


def test_the_kernel_has_a_grace_period_to_wait_for() -> None:
    wait_for_programs()
