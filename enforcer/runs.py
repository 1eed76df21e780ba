# SPDX-License-Identifier: Apache-2.0
"""Workloads that `lictor run` makes: a fresh cgroup under a policy, for one command."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from controlplane.contract.wire import RequestError
from enforcer import abi, cgroups, pins
from enforcer.enforcement import Enforcement
from enforcer.exemptions import Exemption
from enforcer.names import CANARY_SLOT
from enforcer.store import PolicyStore

PARENT = "/lictor.slice"


class Runs:
    """Makes and removes the cgroups of runs."""

    def __init__(self, enforcement: Enforcement, store: PolicyStore) -> None:
        self._enforcement = enforcement
        self._store = store
        self._numbers = itertools.count(1)
        self._held: set[str] = set()

    def prepare(self, policy: str, grants: list[str]) -> tuple[str, int]:
        """(path, id) of a new covered cgroup. RequestError if policy or grant is unknown."""
        stored = self._store.active(policy)
        if stored is None:
            known = ", ".join(self._store.names()) or "none"
            raise RequestError(
                "unknown_policy", f"policy {policy}: is not in force; in force: {known}"
            )
        unknown = [grant for grant in grants if grant not in stored.policy.spec.grants]
        if unknown:
            known = ", ".join(stored.policy.spec.grants) or "none"
            raise RequestError(
                "unknown_grant", f"policy {policy}: no grant {unknown[0]}; it has: {known}"
            )
        bits = self._store.grant_bits(policy, grants)
        mask = sum(1 << bit for bit in bits.values())
        path = self._fresh_path(policy)
        cgroups.folder(path).mkdir(parents=True)
        self._held.add(path)
        return path, self._enforcement.bind(path, stored.slot, mask)

    def release(self, path: str) -> None:
        """The command's starter is gone: once the cgroup is empty it may be swept."""
        self._held.discard(path)

    def finish(self, path: str) -> bool:
        """Remove a run's cgroup; False if processes are still in it."""
        if not path.startswith(f"{PARENT}/run-"):
            raise RequestError("invalid", f"finish: {path!r} is not a run's cgroup")
        if not cgroups.exists(path):
            return True
        number = cgroups.cgroup_id(path)
        try:
            for below, _ in reversed(list(cgroups.walk(path))):
                cgroups.folder(below).rmdir()
        except OSError:
            return False
        pins.disarm(pins.owner(self._enforcement.maps), number)
        return True

    def sweep(self) -> None:
        """Remove the cgroups of runs that have ended since."""
        for path, _ in cgroups.children(PARENT):
            if path in self._held or not path.startswith(f"{PARENT}/run-"):
                continue
            if not _populated(path):
                self.finish(path)

    def _fresh_path(self, policy: str) -> str:
        for number in self._numbers:
            path = f"{PARENT}/run-{policy}-{number}"
            if not cgroups.exists(path):
                return path
        raise AssertionError("itertools.count ended")


def _populated(path: str) -> bool:
    try:
        text = (cgroups.folder(path) / "cgroup.events").read_text()
    except FileNotFoundError:
        return False
    return "populated 1" in text


def workload_rows(
    enforcement: Enforcement, store: PolicyStore, exemptions: Mapping[int, Exemption]
) -> list[dict[str, object]]:
    """Every workload with its policy, exemption (unix time, or null) and counts, for `status`."""
    names = store.slots()
    # One walk: a search for each would take as many as there are workloads.
    known = {cgroup: path for path, cgroup in cgroups.walk("/")}
    rows: list[dict[str, object]] = []
    for cgroup, scope in enforcement.maps.scopes.items():
        if scope.workload != cgroup or scope.policy == CANARY_SLOT:
            continue
        exemption = exemptions.get(cgroup)
        counts = enforcement.maps.workloads.get(cgroup) or abi.Workload()
        rows.append(
            {
                "id": cgroup,
                "path": known.get(cgroup),
                "policy": names.get(scope.policy, f"slot-{scope.policy}"),
                "armed": bool(scope.flags & abi.ScopeFlag.ARMED),
                "exempt_until": exemption.ends() if exemption is not None else None,
                "exempt_reason": exemption.reason if exemption is not None else "",
                "events": counts.sequence,
                "delivered": counts.delivered,
                "suppressed": counts.suppressed,
                "lost_denials": counts.lost_denials,
                "lost_activity": counts.lost_activity,
            }
        )
    return rows
