# SPDX-License-Identifier: Apache-2.0
"""Maps: the kernel takes every one as it is described, and tables read back what they wrote."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from enforcer import abi, libbpf, maps
from enforcer.maps import MAPS, Maps, Table
from tests.unit.enforcer.tables import MemoryTable


@contextmanager
def kernel_map(name: str, entries: int | None = None) -> Iterator[int]:
    spec = MAPS[name]
    sizes = maps.size_of(spec.key), maps.size_of(spec.value)
    room = spec.max_entries if entries is None else entries
    descriptor = libbpf.create_map(spec.kind, name, *sizes, room, spec.flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("name", MAPS)
def test_the_kernel_makes_the_map_as_described(name: str) -> None:
    spec = MAPS[name]
    with kernel_map(name) as descriptor:
        info = libbpf.map_info(descriptor)
    assert (info.kind, info.key_size, info.value_size, info.max_entries) == (
        spec.kind, maps.size_of(spec.key), maps.size_of(spec.value), spec.max_entries,
    )  # fmt: skip


def _path_key(ruleset: int, text: bytes) -> abi.PathKey:
    return abi.PathKey(prefix_bits=32 + 8 * len(text), ruleset=ruleset, path=text)


KEYS_AND_VALUES: list[tuple[str, Any, Any]] = [
    ("scopes", 1 << 40, abi.Scope(workload=7, policy=3, flags=2)),
    ("policies", 5, abi.Policy(ruleset=9)),
    ("paths", _path_key(4, b"/usr/"), abi.PathVerdict(allow=3, base_rule=1)),
    ("devices", abi.DeviceKey(4, 0, 195, abi.ANY_MINOR), abi.DeviceVerdict(allow=2)),
    ("consumed", 77, 1 << 50),
]


@pytest.mark.parametrize("in_memory", [False, True], ids=["kernel", "memory"])
@pytest.mark.parametrize(("name", "key", "value"), KEYS_AND_VALUES, ids=lambda v: str(v)[:9])
def test_a_table_gives_back_what_was_put(name: str, key: Any, value: Any, in_memory: bool) -> None:
    with kernel_map(name) as descriptor:
        table: Any = MemoryTable(name) if in_memory else Table(name, descriptor)
        before = table.get(key)
        assert (before is None) == (name != "policies")
        table.put(key, value)
        found = table.get(key)
        assert found == value if isinstance(value, int) else bytes(found) == bytes(value)
        if name == "policies":
            return
        assert [bytes(k) if isinstance(k, ctypes.Structure) else k for k, _ in table.items()] == [
            bytes(key) if isinstance(key, ctypes.Structure) else key
        ]
        assert len(list(table.items())) == 1
        assert table.delete(key) is True
        assert table.delete(key) is False
        assert table.get(key) is None
        assert list(table.items()) == []


@pytest.mark.parametrize("in_memory", [False, True], ids=["kernel", "memory"])
def test_a_full_table_names_itself(in_memory: bool) -> None:
    with kernel_map("thread_calls", entries=2) as descriptor:
        table: Any = Table("thread_calls", descriptor)
        if in_memory:
            table = MemoryTable("thread_calls")
            table.room = 2
        for tid in (1, 2):
            table.put(tid, abi.ThreadCall(call=tid))
        table.put(2, abi.ThreadCall(call=5))
        with pytest.raises(OSError, match="map thread_calls: update") as caught:
            table.put(3, abi.ThreadCall(call=3))
        assert caught.value.errno in (7, 28)  # E2BIG, ENOSPC


def test_keys_may_be_deleted_while_they_are_gone_through() -> None:
    with kernel_map("scopes", entries=64) as descriptor:
        table: Table[abi.Scope] = Table("scopes", descriptor)
        for number in range(40):
            table.put(number, abi.Scope(workload=number))
        seen = []
        for key in table.keys():  # noqa: SIM118 (a table is no mapping)
            seen.append(key)
            table.delete(key)
        assert sorted(seen) == list(range(40))
        assert list(table.items()) == []


def test_the_longest_prefix_wins_in_the_kernel_as_in_the_compilers_tests() -> None:
    with kernel_map("paths", entries=8) as descriptor:
        table: Table[abi.PathVerdict] = Table("paths", descriptor)
        for text, allow in ((b"/usr/", 1), (b"/usr/bin/ssh\0", 2), (b"/usr/bin/", 4)):
            table.put(_path_key(1, text), abi.PathVerdict(allow=allow))

        def found(path: bytes, ruleset: int = 1) -> int:
            key = abi.PathKey(8 * (4 + abi.RULE_PATH_SIZE), ruleset, path)
            verdict = table.get(key)
            return verdict.allow if verdict else 0

        assert [found(path) for path in (b"/usr/lib/a", b"/usr/bin/ssh", b"/usr/bin/sshd")] == [
            1, 2, 4,
        ]  # fmt: skip
        assert found(b"/usr") == 0
        assert found(b"/usr/lib/a", ruleset=2) == 0


@pytest.fixture
def pin_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(maps, "PIN_ROOT", tmp_path / "lictor")
    return tmp_path / "lictor"


def test_the_tag_map_lies_outside_the_versioned_folder(pin_root: Path) -> None:
    assert maps.pin_path("tags") == pin_root / "tags"
    assert maps.pin_path("scopes") == pin_root / f"maps-{abi.LAYOUT_VERSION}" / "scopes"


def test_an_unloaded_node_is_said_to_be_so(pin_root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"control: Lictor is not loaded \(lictor up\)"):
        Maps.open()


def test_a_pin_of_another_shape_is_refused(pin_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = maps.pin_path("policies")
    path.parent.mkdir(parents=True)
    path.touch()
    with kernel_map("rulesets") as descriptor:
        monkeypatch.setattr(libbpf, "open_pin", lambda _: os.dup(descriptor))
        with pytest.raises(ValueError, match="policies: is a map of another shape"):
            maps.open_or_create("policies")
