# SPDX-License-Identifier: Apache-2.0
"""A walk asks for one thing at a time and reads every record, however the pipe cuts it."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from enforcer import abi, maps, paths, pins, tasks
from enforcer.abi import IteratorOperation, TagFlag
from enforcer.tasks import TaggedTask, Tasks
from tests.unit.enforcer.fake_pins import owned
from tests.unit.enforcer.tables import MemoryMaps


def _record(tid: int, **tag: Any) -> abi.TaskRecord:
    fields = {"workload": 100, "policy": 2, "grants": 3, "call": 7, "flags": TagFlag.AFTER, **tag}
    return abi.TaskRecord(tid=tid, pid=tid - 1, start=5, cgroup=6, tag=abi.Tag(**fields))


class FakeIterator:
    """Replaces libbpf in enforcer.tasks: what a walk reads comes from `records`."""

    def __init__(self, memory: Any) -> None:
        self._maps = memory
        self.records: list[abi.TaskRecord] = []
        self.walks: list[tuple[int, int, int]] = []
        self.opened: list[str] = []

    def open_pin(self, path: str) -> int:
        self.opened.append(path)
        return os.open(os.devnull, os.O_RDONLY)

    def create_task_iterator(self, program: int, tid: int) -> int:
        command = self._maps.iterator.get(0)
        self.walks.append((command.operation, command.call, tid))
        reading, writing = os.pipe()
        data = b"".join(map(bytes, self.records))
        thread = threading.Thread(target=_write_in_pieces, args=(writing, data))
        thread.start()
        return reading


def _write_in_pieces(descriptor: int, data: bytes) -> None:
    for start in range(0, len(data), 50):
        os.write(descriptor, data[start : start + 50])
    os.close(descriptor)


@pytest.fixture
def memory() -> Any:
    made = MemoryMaps()
    made.control.put(0, owned(3))
    return made


@pytest.fixture
def iterator(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeIterator:
    fake = FakeIterator(memory)
    monkeypatch.setattr(tasks, "libbpf", fake)
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    for module in (maps, pins):
        monkeypatch.setattr(module, "PIN_ROOT", tmp_path / "bpf")
    return fake


def test_every_record_is_a_task(memory: Any, iterator: FakeIterator) -> None:
    iterator.records = [_record(n) for n in range(10, 60)]
    found = Tasks(memory).list()
    assert [task.tid for task in found] == list(range(10, 60))
    assert found[0] == TaggedTask(
        tid=10, pid=9, start=5, cgroup=6, workload=100, policy=2, grants=3, call=7,
        flags=TagFlag.AFTER,
    )  # fmt: skip


def test_each_question_is_its_operation(memory: Any, iterator: FakeIterator) -> None:
    walker = Tasks(memory)
    walker.list()
    walker.list(5)
    walker.resolve(6)
    assert walker.begin_call(7, 70) is None
    assert walker.end_call(8, 80) is None
    walker.mark_covered(1 << 40)
    assert iterator.walks == [
        (IteratorOperation.LIST, 0, 0),
        (IteratorOperation.LIST, 0, 5),
        (IteratorOperation.RESOLVE, 0, 6),
        (IteratorOperation.CALL, 70, 7),
        (IteratorOperation.AFTER, 80, 8),
        (IteratorOperation.FILTER, 1 << 40, os.getpid()),
    ]


def test_the_task_that_a_call_was_given_to_is_told(memory: Any, iterator: FakeIterator) -> None:
    iterator.records = [_record(7, call=70, flags=0)]
    task = Tasks(memory).begin_call(7, 70)
    assert task is not None
    assert (task.tid, task.call, task.flags) == (7, 70, TagFlag(0))


def test_an_upgrade_moves_to_the_new_sets_iterator(memory: Any, iterator: FakeIterator) -> None:
    walker = Tasks(memory)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (names of descriptors)
    for number in (3, 3, 4, 4):
        memory.control.put(0, owned(number))
        walker.list()
    assert [path.split("/")[-2:] for path in iterator.opened] == [
        ["set-3", "iterate_tasks"], ["set-4", "iterate_tasks"],
    ]  # fmt: skip
    assert len(os.listdir("/proc/self/fd")) == before + 1  # noqa: PTH208


def test_walks_of_all_processes_take_turns(
    memory: Any, iterator: FakeIterator, tmp_path: Path
) -> None:
    Tasks(memory).list()
    done = threading.Event()
    with open(tmp_path / "run/iterator.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def walk() -> None:
            Tasks(memory).list()
            done.set()

        thread = threading.Thread(target=walk)
        thread.start()
        assert not done.wait(0.2)
        assert len(iterator.walks) == 1
    assert done.wait(5)
    thread.join()
    assert len(iterator.walks) == 2
