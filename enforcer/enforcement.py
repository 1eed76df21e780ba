# SPDX-License-Identifier: Apache-2.0
"""Policies in force: from an accepted policy to covered, armed and tagged workloads.

Used by the loader (restore at boot) and the agent (changes). Nothing here decides anything
about a workload's attempts; that is the kernel programs' part.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from loguru import logger

from controlplane.contract.policy import Policy, Selector
from controlplane.contract.policy_devices import DeviceRule
from enforcer import abi, cgroups, clock, gpu, pins
from enforcer.abi import ScopeFlag
from enforcer.compiler import CompiledPolicy, compile_policy, compile_selector
from enforcer.maps import Maps
from enforcer.rulesets import Rulesets
from enforcer.store import PolicyStore, StoredPolicy
from enforcer.tasks import Tasks


class PolicyConflict(ValueError):
    """Two policies select the same cgroups; str names both."""


@dataclass(frozen=True)
class AppliedPolicy:
    """What `apply` did. warnings: sentences for the operator."""

    stored: StoredPolicy
    workloads: int
    warnings: tuple[str, ...]


class Enforcement:
    """Puts policies into the kernel and keeps scopes, arming and tags in step with cgroups."""

    def __init__(self, maps: Maps, store: PolicyStore, tasks: Tasks) -> None:
        self.maps = maps
        self.store = store
        self.tasks = tasks
        self._rulesets = Rulesets(maps)
        self._gpu_devices: frozenset[DeviceRule] | None = None

    def restore(self) -> tuple[list[StoredPolicy], list[str]]:
        """Put every stored policy into force; for the loader, before workloads start.

        Returns what is in force and what went wrong, a sentence each. A GPU that cannot be found
        yet (its driver loads later) stays denied until `refresh_devices` finds it.
        """
        restored: list[StoredPolicy] = []
        problems: list[str] = []
        for name in self.store.names():
            try:
                stored = self.store.active(name)
                if stored is None:
                    continue
                self._install(stored.policy, stored.slot, stored.revision, lenient=True)
                self._select(stored.policy, stored.slot)
            except (OSError, ValueError) as error:
                problems.append(f"policy {name} is not in force: {error}")
                continue
            restored.append(stored)
        self._settle()
        return restored, problems

    def apply(self, policy: Policy, revision: int | None = None) -> AppliedPolicy:
        """Accept `policy` as the next revision of its name, or as the control plane's `revision`.

        Raises PolicyConflict, CompileError, ValueError (a number that the store refuses, GPUs),
        OSError (kernel tables); the revision before stays in force then.
        """
        number = self.store.number_for(policy, revision)
        self._refuse_conflicts(policy)
        slot = self.store.slot(policy.name)
        before = self.store.active(policy.name)
        compiled = self._install(policy, slot, number)
        stored = StoredPolicy(policy.name, number, slot, policy, tuple(compiled.rules), time.time())
        try:
            if before is not None:
                self._deselect(before.policy, policy, slot)
            self._select(policy, slot)
            self.store.save(stored)
        except OSError:
            self._go_back(policy, before, slot)
            raise
        self._settle()
        covered = self._workloads_of(slot)
        return AppliedPolicy(stored, covered, tuple(self._warnings(policy, covered)))

    def remove(self, name: str) -> None:
        """Take `name` out of force: its workloads are judged by whatever else covers them."""
        stored = self.store.active(name)
        if stored is None:
            raise ValueError(f"policy {name}: is not in force")
        self.store.remove(name)
        self._release(stored.policy, stored.slot)

    def _release(self, policy: Policy, slot: int) -> None:
        """Cover nothing by `slot` any more; tasks that it covered are judged anew."""
        self._deselect(policy, None, slot)
        for cgroup, scope in self.maps.scopes.items():
            if scope.policy == slot:
                self.maps.scopes.delete(cgroup)
        head = abi.Ruleset(policy=slot, mode=abi.Mode.RELEASED)
        self._rulesets.install(slot, self._rulesets.free_number(), CompiledPolicy(head))

    def _go_back(self, policy: Policy, before: StoredPolicy | None, slot: int) -> None:
        """Undo an `apply` that got stuck: the revision before, or none, is in force again."""
        if before is None:
            self._release(policy, slot)
            return
        self._install(before.policy, slot, before.revision, lenient=True)
        self._deselect(policy, before.policy, slot)
        self._select(before.policy, slot)

    def bind(self, path: str, slot: int, grants: int) -> int:
        """Cover one cgroup, made by the operator, as a workload of its own; returns its id."""
        cgroup = cgroups.cgroup_id(path)
        pins.arm(pins.owner(self.maps), path)
        flags = ScopeFlag.ARMED | ScopeFlag.SETTLED
        scope = abi.Scope(workload=cgroup, policy=slot, grants=grants, flags=flags)
        self._set_scope(cgroup, scope)
        return cgroup

    def refresh(self) -> None:
        """Catch up with the machine: arm new roots, forget removed ones, follow GPU numbers."""
        for name in self.store.names():
            try:
                stored = self.store.active(name)
            except ValueError as error:
                # What it covers stays covered: the others' new workloads must not wait for it.
                logger.error("policy {}: {}", name, error)
                continue
            if stored is not None:
                self._select(stored.policy, stored.slot)
        self._settle()
        owner = pins.owner(self.maps)
        for cgroup in pins.armed(owner):
            if self.maps.scopes.get(cgroup) is None:
                pins.disarm(owner, cgroup)

    def forget_old_workloads(self) -> int:
        """Make room for counts and homes: drop those of workloads that are gone and hold no task.

        Only when half the room is used, so that counts stay to be asked for as long as may be.
        """
        known = list(self.maps.workloads.keys())
        if len(known) < abi.MAX_WORKLOADS // 2:
            return 0
        alive = {task.workload for task in self.tasks.list()}
        gone = [n for n in known if n not in alive and self.maps.scopes.get(n) is None]
        for number in gone:
            self.maps.workloads.delete(number)
            self.maps.homes.delete(number)
            self.maps.consumed.delete(number)
        return len(gone)

    def refresh_clock(self) -> None:
        """Tell the programs when a time service has set the offset of atomic time."""
        control = self.maps.control.get(0)
        offset = clock.tai_offset()
        if control is not None and control.tai_offset != offset:
            control.tai_offset = offset
            self.maps.control.put(0, control)

    def forget_old_roots(self) -> int:
        """Make room for roots: drop those of cgroups that are gone, when half the room is used."""
        known = list(self.maps.roots.items())
        if len(known) < abi.MAX_ROOTS // 2:
            return 0
        gone = [key for key, root in known if self.maps.scopes.get(root.cgroup) is None]
        for key in gone:
            self.maps.roots.delete(key)
        return len(gone)

    def refresh_devices(self) -> None:
        """Compile policies with GPU rules anew when a driver got new device numbers."""
        devices = frozenset(gpu.resolve_gpus("all", "devices.gpus"))
        if devices == self._gpu_devices:
            return
        self._gpu_devices = devices
        for name in self.store.names():
            stored = self.store.active(name)
            if stored is not None and _names_gpus(stored.policy):
                self._install(stored.policy, stored.slot, stored.revision, lenient=True)

    def _install(
        self, policy: Policy, slot: int, revision: int, *, lenient: bool = False
    ) -> CompiledPolicy:
        number = self._rulesets.free_number()
        compiled = compile_policy(
            policy,
            slot=slot,
            ruleset=number,
            revision=revision,
            grants=self.store.grant_bits(policy.name, list(policy.spec.grants)),
            resolve_gpus=_gpus_found if lenient else gpu.resolve_gpus,
        )
        self._rulesets.install(slot, number, compiled)
        return compiled

    def _select(self, policy: Policy, slot: int) -> None:
        for selector in policy.spec.select:
            key, value = compile_selector(selector, slot)
            self.maps.selectors.put(key, value)
            # The parent slice is made here, so that its first workload finds it armed.
            if selector.form != "subtree" and policy.spec.mode == "enforce":
                cgroups.folder(selector.path).mkdir(parents=True, exist_ok=True)
            self._cover(selector, slot)

    def _cover(self, selector: Selector, slot: int) -> None:
        owner = pins.owner(self.maps)
        roots: list[str] = []
        if selector.form == "children":
            found = cgroups.children(selector.path)
            roots = [path for path, cgroup in found if not self._is_monitors(path, cgroup)]
        elif cgroups.exists(selector.path):
            roots = [selector.path]
        for root in roots:
            try:
                self._cover_subtree(root, slot, children=selector.form == "tree")
                pins.arm(owner, root)
                pins.arm_scopes(self.maps, root)
            except FileNotFoundError:
                # Removed while we looked at it: nothing is left to cover.
                continue

    def _cover_subtree(self, root: str, slot: int, *, children: bool) -> None:
        root_id = cgroups.cgroup_id(root)
        workload = {root: root_id}
        for path, cgroup in cgroups.walk(root):
            parent = path.rpartition("/")[0]
            if path != root and parent not in workload:
                continue
            above = workload.get(parent, root_id)
            own = children and path != root and above == root_id
            if own and self._is_monitors(path, cgroup):
                continue
            workload[path] = cgroup if path == root or own else above
            if self.maps.scopes.get(cgroup) is not None:
                continue
            scope = abi.Scope(workload=workload[path], policy=slot)
            if children and path == root:
                scope.flags = ScopeFlag.CHILDREN
            if workload[path] != root_id:
                scope.parent = root_id
            self._set_scope(cgroup, scope)

    def _is_monitors(self, path: str, cgroup: int) -> bool:
        """Whether a workload's place is a monitor's and none of ours, as bpf/task.c decides it.

        One that has a scope was made from inside a workload, and stays covered.
        """
        return cgroups.is_monitor(path) and self.maps.scopes.get(cgroup) is None

    def _set_scope(self, cgroup: int, scope: abi.Scope) -> None:
        self.tasks.mark_covered(cgroup)
        self.maps.scopes.put(cgroup, scope)

    def _settle(self) -> None:
        """Tag who was in a cgroup before its policy: whoever is untagged there later, enters."""
        fresh = [
            cgroup
            for cgroup, scope in self.maps.scopes.items()
            if not scope.flags & ScopeFlag.SETTLED
        ]
        if not fresh:
            return
        self.tasks.resolve()
        for cgroup in fresh:
            scope = self.maps.scopes.get(cgroup)
            if scope is not None:
                scope.flags |= ScopeFlag.SETTLED
                self.maps.scopes.replace(cgroup, scope)

    def _deselect(self, old: Policy, new: Policy | None, slot: int) -> None:
        kept = {selector.cgroup for selector in new.spec.select} if new else set()
        for selector in old.spec.select:
            if selector.cgroup in kept:
                continue
            key, _ = compile_selector(selector, slot)
            self.maps.selectors.delete(key)
            for _, cgroup in cgroups.walk(selector.path):
                scope = self.maps.scopes.get(cgroup)
                if scope is not None and scope.policy == slot:
                    self.maps.scopes.delete(cgroup)

    def _refuse_conflicts(self, policy: Policy) -> None:
        others = [name for name in self.store.names() if name != policy.name]
        for stored in filter(None, map(self.store.active, others)):
            for mine in policy.spec.select:
                for theirs in stored.policy.spec.select:
                    if _overlap(mine, theirs):
                        raise PolicyConflict(
                            f"policy {policy.name}: spec.{mine.field_path}.cgroup: {mine.cgroup}"
                            f" and {theirs.cgroup} of policy {stored.name} select the same"
                            f" cgroups; one cgroup has one policy: change one, or"
                            f" lictor policy remove {stored.name}"
                        )

    def _workloads_of(self, slot: int) -> int:
        found = set()
        for _, scope in self.maps.scopes.items():  # noqa: PERF102 (a table is no mapping)
            if scope.policy == slot:
                found.add(scope.workload)
        return len(found)

    def _warnings(self, policy: Policy, covered: int) -> list[str]:
        warnings = []
        for selector in policy.spec.select:
            if selector.form == "subtree" and not cgroups.exists(selector.path):
                warnings.append(
                    f"spec.{selector.field_path}.cgroup: no cgroup {selector.path} exists now;"
                    " it is covered from its making on"
                )
        if policy.spec.select and not covered:
            warnings.append("no workload is covered yet")
        return warnings


def _gpus_found(gpus: gpu.Gpus, field_path: str) -> Iterable[DeviceRule]:
    try:
        return gpu.resolve_gpus(gpus, field_path)
    except ValueError as error:
        logger.warning("{}; it stays denied", error)
        return ()


def _overlap(one: Selector, other: Selector) -> bool:
    """Whether the two cover a common cgroup: one's named cgroup lies on the other's path."""
    first, second = sorted((one, other), key=lambda selector: len(selector.path))
    if first.path == second.path:
        return True
    return second.path.startswith(first.path.rstrip("/") + "/")


def _names_gpus(policy: Policy) -> bool:
    sections = [policy.spec.devices, *(grant.devices for grant in policy.spec.grants.values())]
    return any(part is not None and part.gpus != "none" for part in sections)
