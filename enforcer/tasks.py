# SPDX-License-Identifier: Apache-2.0
"""Tags of tasks, read and changed by the kernel's task iterator (bpf/iterate.c).

One walk at a time: what a walk shall do lies in a map, so walks of all of Lictor's processes
take turns by a lock file.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from enforcer import libbpf, paths, pins
from enforcer.abi import IteratorCommand, IteratorOperation, TagFlag, TaskRecord
from enforcer.maps import Maps


@dataclass(frozen=True)
class TaggedTask:
    """One thread and its tag. start: boot time in ns; cgroup and workload: cgroup ids."""

    tid: int
    pid: int
    start: int
    cgroup: int
    workload: int
    policy: int
    grants: int
    call: int
    flags: TagFlag


class Tasks:
    """Walks over tasks; needs the loaded programs' pins."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._program = -1
        self._owner = 0

    def list(self, tid: int = 0) -> Sequence[TaggedTask]:
        """Every tagged thread, or the one thread `tid` if it is tagged."""
        return self._walk(IteratorOperation.LIST, tid)

    def resolve(self, tid: int = 0) -> Sequence[TaggedTask]:
        """Tag what is in a covered cgroup and has no tag yet; gives all that have one then."""
        return self._walk(IteratorOperation.RESOLVE, tid)

    def begin_call(self, tid: int, call: int) -> TaggedTask | None:
        """Give the thread `tid` a tool call and drop its grants; None if it is in no workload."""
        return next(iter(self._walk(IteratorOperation.CALL, tid, call=call)), None)

    def end_call(self, tid: int, call: int) -> TaggedTask | None:
        """Mark the thread as outliving `call`, if it still holds it."""
        return next(iter(self._walk(IteratorOperation.AFTER, tid, call=call)), None)

    def mark_covered(self, cgroup: int) -> None:
        """Set the cgroup's bit in the filter; the programs set bits too, so this is theirs."""
        self._walk(IteratorOperation.FILTER, os.getpid(), call=cgroup)

    def _walk(
        self, operation: IteratorOperation, tid: int, *, call: int = 0
    ) -> Sequence[TaggedTask]:
        with _exclusively():
            self._maps.iterator.put(0, IteratorCommand(operation=operation, call=call))
            iterator = libbpf.create_task_iterator(self._iterator_program(), tid)
            try:
                return list(_records(iterator))
            except ProcessLookupError:
                return []
            finally:
                os.close(iterator)

    def _iterator_program(self) -> int:
        # An upgrade replaces the program set; its pins move with the owner's number.
        owner = pins.owner(self._maps)
        if owner != self._owner:
            if self._program >= 0:
                os.close(self._program)
            self._program = libbpf.open_pin(str(pins.set_folder(owner) / "iterate_tasks"))
            self._owner = owner
        return self._program


@contextmanager
def _exclusively() -> Iterator[None]:
    paths.RUN.mkdir(parents=True, exist_ok=True)
    with open(paths.RUN / "iterator.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _records(iterator: int) -> Iterator[TaggedTask]:
    size = ctypes.sizeof(TaskRecord)
    data = b""
    while chunk := os.read(iterator, 1 << 16):
        data += chunk
    for offset in range(0, len(data) - size + 1, size):
        record = TaskRecord.from_buffer_copy(data, offset)
        tag = record.tag
        yield TaggedTask(
            record.tid, record.pid, record.start, record.cgroup, tag.workload, tag.policy,
            tag.grants, tag.call, TagFlag(tag.flags),
        )  # fmt: skip
