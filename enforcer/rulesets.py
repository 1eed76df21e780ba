# SPDX-License-Identifier: Apache-2.0
"""Writing one compiled revision into the kernel so that no decision sees half of it.

The entries carry a ruleset number of their own. They are written and read back while nothing
points to them; then one word of the policy's slot is switched; then, after a grace period in
which every running program has ended, the old ruleset's entries are deleted and its number
may be used again.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Protocol

from enforcer import abi
from enforcer.compiler import CompiledPolicy

MEMBARRIER_GLOBAL = 1
SYS_MEMBARRIER = {"x86_64": 324, "aarch64": 283}


class PolicyTables(Protocol):
    """The maps that hold policies, real (maps.Maps) or in memory (tests)."""

    policies: Any
    rulesets: Any
    destinations: Any
    paths: Any
    unix_names: Any
    devices: Any


def wait_for_programs() -> None:
    """Return when every kernel program that ran at the call has ended.

    membarrier's global form waits for an RCU grace period; LSM, tracing and cgroup programs
    run inside one RCU read section. Source: kernel/sched/membarrier.c.
    """
    number = SYS_MEMBARRIER[os.uname().machine]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, MEMBARRIER_GLOBAL, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "membarrier")


class Rulesets:
    """Gives out ruleset numbers and moves policies from one to the next."""

    def __init__(self, tables: PolicyTables, grace: Any = wait_for_programs) -> None:
        self._tables = tables
        self._grace = grace

    def free_number(self) -> int:
        """A number that no policy uses. OSError when all are in use."""
        for number in range(1, abi.MAX_RULESETS):
            head = self._tables.rulesets.get(number)
            if head is None or not head.mode:
                return number
        raise OSError(f"all {abi.MAX_RULESETS - 1} rulesets are in use")

    def install(self, slot: int, number: int, compiled: CompiledPolicy) -> None:
        """Write, read back, switch, and clean up what was in force before.

        On any failure what was in force stays so, and what was written is removed.
        """
        tables = self._tables
        before = tables.policies.get(slot)
        # A writer that was killed may have left entries under this number.
        self.erase(number)
        try:
            for table, entries in self._entries(compiled):
                for key, value in entries:
                    table.put(key, value)
            tables.rulesets.put(number, compiled.ruleset)
            self._read_back(number, compiled)
            tables.policies.put(slot, abi.Policy(ruleset=number))
        except OSError:
            self.erase(number)
            raise
        if before is not None and before.ruleset:
            self._grace()
            self.erase(before.ruleset)

    def erase(self, number: int) -> None:
        """Delete a ruleset that no policy points to."""
        tables = self._tables
        for table in (tables.destinations, tables.paths, tables.unix_names, tables.devices):
            for key in list(table.keys()):
                if key.ruleset & ~abi.INGRESS_RULES == number:
                    table.delete(key)
        tables.rulesets.put(number, abi.Ruleset())

    def _entries(self, compiled: CompiledPolicy) -> tuple[tuple[Any, list[Any]], ...]:
        return (
            (self._tables.destinations, compiled.destinations),
            (self._tables.paths, compiled.paths),
            (self._tables.unix_names, compiled.unix_names),
            (self._tables.devices, compiled.devices),
        )

    def _read_back(self, number: int, compiled: CompiledPolicy) -> None:
        wanted = [(self._tables.rulesets, number, compiled.ruleset)]
        for table, entries in self._entries(compiled):
            wanted += [(table, key, value) for key, value in entries]
        for table, key, value in wanted:
            found = table.get(key)
            if found is None or bytes(found) != bytes(value):
                raise OSError(f"ruleset {number}: read back something else than was written")
