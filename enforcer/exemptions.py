# SPDX-License-Identifier: Apache-2.0
"""Workloads that are exempt from their policy for a while: what the kernel holds, and who asked.

The kernel ends an exemption by itself, by its own clock. The file beside it says who asked and
why; it lies under /run, since no exemption outlives the boot.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from loguru import logger

from enforcer import abi, cgroups, paths
from enforcer.maps import Maps

SHORTEST_SECONDS = 1
LONGEST_SECONDS = 24 * 3600
LONGEST_REASON = 500
FILE_VERSION = 1
UNRECORDED = "(not recorded)"

Cause = Literal["expired", "ended", "workload_ended", "lost"]
"""Why one ended: its time was over, an operator ended it, its workload went, or the kernel has it
no more (the programs were unloaded)."""


@dataclass(frozen=True)
class Exemption:
    """One workload's. workload: cgroup id; policy: slot; until: boot time in ns; uid: who asked."""

    workload: int
    path: str
    policy: int
    until: int
    reason: str
    uid: int

    def remaining(self) -> float:
        """Seconds until it ends by itself."""
        return (self.until - _now()) / 1e9

    def ends(self) -> float:
        """The same as unix time."""
        return time.time() + self.remaining()


OnEnd = Callable[[Exemption, Cause], None]


class Exemptions:
    """The agent's view: it alone writes."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps

    def active(self) -> dict[int, Exemption]:
        """What holds now, by workload: the kernel's word, with what the file says of it."""
        recorded = self._recorded()
        found = {}
        for workload, value in self._maps.exemptions.items():
            if value.until > _now():
                known = recorded.get(workload) or _unrecorded(workload)
                found[workload] = replace(known, until=value.until)
        return found

    def prepare(self, workload: int, path: str, seconds: float, reason: str, uid: int) -> Exemption:
        """Put on record what `begin` will give to the kernel: first who asked, then the effect."""
        scope = self._maps.scopes.get(workload)
        policy = scope.policy if scope is not None else 0
        exemption = Exemption(workload, path, policy, _now() + int(seconds * 1e9), reason, uid)
        self._record({**self._recorded(), workload: exemption})
        return exemption

    def begin(self, exemption: Exemption) -> None:
        """From here on the kernel lets pass. Raises OSError where its table is full."""
        value = abi.Exemption(until=exemption.until)
        self._maps.exemptions.put(exemption.workload, value)

    def end(self, workload: int) -> Exemption | None:
        """From here on the policy holds again; what ended, None if it held already."""
        found = self.active().get(workload)
        self._maps.exemptions.delete(workload)
        return found

    def forget(self, workload: int) -> None:
        """Take what has ended off the record."""
        recorded = self._recorded()
        if recorded.pop(workload, None) is not None:
            self._record(recorded)

    def sweep(self, on_end: OnEnd) -> None:
        """Find what has ended without being asked to, tell of it and take it off the record."""
        recorded = self._recorded()
        for workload in list(self._maps.exemptions.keys()):
            # Nobody could say who asked for it.
            if workload not in recorded:
                logger.error("exemption of workload {}: is on no record; ended", workload)
                self._maps.exemptions.delete(workload)
        for workload, exemption in recorded.items():
            cause = self._ended_by(exemption)
            if cause is not None:
                self._maps.exemptions.delete(workload)
                on_end(exemption, cause)
                self.forget(workload)

    def _ended_by(self, exemption: Exemption) -> Cause | None:
        if exemption.remaining() <= 0:
            return "expired"
        if self._maps.scopes.get(exemption.workload) is None:
            return "workload_ended"
        return "lost" if self._maps.exemptions.get(exemption.workload) is None else None

    def _recorded(self) -> dict[int, Exemption]:
        try:
            text = paths.EXEMPTIONS.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            rows = [Exemption(**row) for row in json.loads(text)["exemptions"]]
        except (ValueError, KeyError, TypeError) as error:
            logger.error("{}: damaged: {}", paths.EXEMPTIONS, error)
            return {}
        return {row.workload: row for row in rows}

    def _record(self, exemptions: dict[int, Exemption]) -> None:
        rows = [asdict(exemption) for exemption in exemptions.values()]
        text = json.dumps({"version": FILE_VERSION, "exemptions": rows})
        paths.write_atomically(paths.EXEMPTIONS, text + "\n")


def exemption_row(exemption: Exemption) -> dict[str, Any]:
    """As replies and `--json` give it. until: unix seconds."""
    return {
        "workload": exemption.path,
        "workload_id": exemption.workload,
        "until": exemption.ends(),
        "remaining": max(exemption.remaining(), 0.0),
        "reason": exemption.reason,
        "uid": exemption.uid,
    }


def _unrecorded(workload: int) -> Exemption:
    path = cgroups.find(workload) or f"cgroup-{workload}"
    return Exemption(workload, path, 0, 0, UNRECORDED, 0)


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
