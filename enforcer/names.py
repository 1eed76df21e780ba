# SPDX-License-Identifier: Apache-2.0
"""Names for the kernel's numbers in events: policies, rules, grants, workloads, tool calls."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

from enforcer import cgroups
from enforcer.callbook import CallBook
from enforcer.store import PolicyStore

CANARY_SLOT = 1
MAXIMUM_WORKLOADS = 16384


class EventNames:
    """Looks names up once and remembers them; `forget_policies` after a change."""

    def __init__(self, store: PolicyStore, book: CallBook) -> None:
        self._store = store
        self._book = book
        self._slots: dict[int, str] = {}
        self._rules: dict[tuple[str, int], tuple[str, ...]] = {}
        self._grants: dict[str, dict[int, str]] = {}
        self._workloads: OrderedDict[int, str] = OrderedDict()

    def forget_policies(self) -> None:
        """Read policies anew at the next event."""
        self._slots.clear()
        self._grants.clear()

    def policy(self, slot: int) -> str:
        """Name of the policy in `slot`."""
        if slot not in self._slots:
            self._slots = {CANARY_SLOT: "lictor-canary", **self._store.slots()}
        return self._slots.get(slot, f"slot-{slot}")

    def rule(self, slot: int, revision: int, number: int) -> str:
        """Field path of a rule, below `spec`."""
        name = self.policy(slot)
        key = (name, revision)
        if key not in self._rules:
            try:
                self._rules[key] = self._store.revision(name, revision).rules
            except (OSError, ValueError):
                # Not saved yet: the kernel had the revision a moment before the disk.
                return f"rule-{number}"
        rules = self._rules[key]
        return rules[number] if number < len(rules) else f"rule-{number}"

    def grants(self, slot: int, bits: int) -> list[str]:
        """Names of the grants in a bit mask, the base left out."""
        if bits <= 1:
            return []
        name = self.policy(slot)
        if name not in self._grants:
            self._grants[name] = self._store.grant_names(name)
        names = self._grants[name]
        return [names.get(bit, f"grant-{bit}") for bit in range(1, 32) if bits >> bit & 1]

    def learn_workload(self, number: int, path: str) -> None:
        """Remember the cgroup path of a workload while it exists."""
        self._workloads[number] = path
        self._workloads.move_to_end(number)
        while len(self._workloads) > MAXIMUM_WORKLOADS:
            self._workloads.popitem(last=False)

    def workload(self, number: int) -> str:
        """Cgroup path of a workload; `cgroup-<id>` if it was gone before it was looked up."""
        if number not in self._workloads:
            path = cgroups.find(number)
            self.learn_workload(number, path or f"cgroup-{number}")
        return self._workloads[number]

    def call(self, number: int, at: float) -> dict[str, Any]:
        """What events carry of a tool call, and its state at the time `at` (unix seconds)."""
        call = self._book.get(number)
        if call is None:
            return {"number": number, "id": None, "episode": None, "step": None, "tool": None,
                    "state": "unknown"}  # fmt: skip
        ended = call.ended is not None and at > call.ended
        return {**call.reference(), "state": "ended" if ended else "active"}


def boot_identity() -> tuple[str, float]:
    """(the kernel's boot id, unix time of boot in seconds)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return boot, time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
