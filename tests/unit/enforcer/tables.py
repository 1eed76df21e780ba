# SPDX-License-Identifier: Apache-2.0
"""The kernel's maps and tasks in memory: what the code under test would find there."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from enforcer import libbpf
from enforcer.abi import TagFlag
from enforcer.maps import MAPS
from enforcer.tasks import TaggedTask


class MemoryTable:
    """As maps.Table behaves: values are copies, arrays hold zeros, a full map raises."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.room = MAPS[name].max_entries
        self._spec = MAPS[name]
        self._entries: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def _packed(self, key: Any) -> bytes:
        assert isinstance(key, (int, self._spec.key)), f"map {self.name}: key {key!r}"
        return bytes(self._spec.key(key) if isinstance(key, int) else key)

    def _is_array(self) -> bool:
        return self._spec.kind == libbpf.MAP_ARRAY

    def get(self, key: Any) -> Any:
        packed = self._entries.get(self._packed(key))
        if packed is None and not (self._is_array() and key < self.room):
            return None
        value = self._spec.value.from_buffer_copy(packed or bytes(ctypes.sizeof(self._spec.value)))
        return value.value if isinstance(value, ctypes.c_uint64) else value

    def put(self, key: Any, value: Any) -> None:
        value = self._spec.value(value) if isinstance(value, int) else value
        assert isinstance(value, self._spec.value), f"map {self.name}: value {value!r}"
        packed = self._packed(key)
        full = key >= self.room if self._is_array() else len(self._entries) >= self.room
        if full and packed not in self._entries:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"map {self.name}: update")
        self._entries[packed] = bytes(value)

    def replace(self, key: Any, value: Any) -> bool:
        if self._packed(key) not in self._entries:
            return False
        self.put(key, value)
        return True

    def delete(self, key: Any) -> bool:
        return self._entries.pop(self._packed(key), None) is not None

    def keys(self) -> Iterator[Any]:
        for packed in list(self._entries):
            key = self._spec.key.from_buffer_copy(packed)
            yield key if isinstance(key, ctypes.Structure) else key.value

    def items(self) -> Iterator[tuple[Any, Any]]:
        for key in list(self.keys()):
            yield key, self.get(key)


class MemoryMaps:
    """Every map, as maps.Maps has them. descriptors: empty, nothing here is open."""

    control: MemoryTable
    scopes: MemoryTable
    selectors: MemoryTable
    policies: MemoryTable
    rulesets: MemoryTable
    destinations: MemoryTable
    paths: MemoryTable
    unix_names: MemoryTable
    devices: MemoryTable
    thread_calls: MemoryTable
    homes: MemoryTable
    roots: MemoryTable
    workloads: MemoryTable
    consumed: MemoryTable
    exemptions: MemoryTable

    def __init__(self) -> None:
        self.descriptors: dict[str, int] = {}
        for name, spec in MAPS.items():
            if spec.key is not None:
                setattr(self, name, MemoryTable(name))

    def close(self) -> None:
        """Nothing is open."""


class MemoryTasks:
    """Tagged tasks by thread id, as tasks.Tasks would find and change them."""

    def __init__(self, *tasks: TaggedTask) -> None:
        self.by_tid = {task.tid: task for task in tasks}
        self.covered: list[int] = []

    def list(self, tid: int = 0) -> Sequence[TaggedTask]:
        if tid:
            return [self.by_tid[tid]] if tid in self.by_tid else []
        return [*self.by_tid.values()]

    def resolve(self, tid: int = 0) -> Sequence[TaggedTask]:
        return self.list(tid)

    def begin_call(self, tid: int, call: int) -> TaggedTask | None:
        return self._change(tid, call=call, grants=1, flags=TagFlag(0))

    def end_call(self, tid: int, call: int) -> TaggedTask | None:
        task = self.by_tid.get(tid)
        if task is None or task.call != call:
            return task
        return self._change(tid, flags=task.flags | TagFlag.AFTER)

    def mark_covered(self, cgroup: int) -> None:
        self.covered.append(cgroup)

    def _change(self, tid: int, **fields: Any) -> TaggedTask | None:
        task = self.by_tid.get(tid)
        if task is not None:
            self.by_tid[tid] = replace(task, **fields)
        return self.by_tid.get(tid)


def tagged(tid: int, **fields: Any) -> TaggedTask:
    """A thread in workload 100 under the policy of slot 2."""
    given: dict[str, Any] = {
        "tid": tid, "pid": tid, "start": 10_000 + tid, "cgroup": 100, "workload": 100,
        "policy": 2, "grants": 1, "call": 0, "flags": TagFlag(0), **fields,
    }  # fmt: skip
    return TaggedTask(**given)
