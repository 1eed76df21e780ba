# SPDX-License-Identifier: Apache-2.0
"""An accepted policy covers, arms and judges what it selects, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.policy import Policy, parse_policy_object
from controlplane.contract.policy_devices import DeviceRule
from enforcer import abi, clock, gpu
from enforcer.abi import ScopeFlag
from enforcer.enforcement import Enforcement, PolicyConflict
from enforcer.store import PolicyStore
from tests.unit.controlplane.contract.documents import whole
from tests.unit.enforcer import fake_pins
from tests.unit.enforcer.fake_pins import owned
from tests.unit.enforcer.tables import MemoryMaps, MemoryTasks, tagged

ARMED, CHILDREN, SETTLED = ScopeFlag.ARMED, ScopeFlag.CHILDREN, ScopeFlag.SETTLED


class Node:
    """Everything that a policy is put into force with."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self.pins = fake_pins.install(folder, monkeypatch)
        self.pins.load(1)
        self.maps: Any = MemoryMaps()
        self.maps.control.put(0, owned(1))
        self.tasks = MemoryTasks()
        self.restart()

    def restart(self) -> None:
        tasks: Any = self.tasks
        self.store = PolicyStore(self._folder / "policies")
        self.enforcement = Enforcement(self.maps, self.store, tasks)

    def scope(self, path: str) -> tuple[int, int, int, int] | None:
        """(workload, parent, policy slot, flags) of a cgroup."""
        found = self.maps.scopes.get(self.pins.make_cgroup(path))
        return (found.workload, found.parent, found.policy, found.flags) if found else None

    def head(self, name: str) -> abi.Ruleset:
        found: abi.Ruleset = self.maps.rulesets.get(
            self.maps.policies.get(self.store.slot(name)).ruleset
        )
        return found


def policy(name: str = "rl", *selectors: str, **sections: object) -> Policy:
    document = whole(select=[{"cgroup": s} for s in selectors], grants={}, **sections)
    document["metadata"] = {"name": name}
    return parse_policy_object(document, "test")


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(gpu, "resolve_gpus", lambda *_: frozenset())
    return Node(tmp_path, monkeypatch)


def test_an_applied_policy_is_in_force_saved_and_covers(node: Node) -> None:
    inside = node.pins.make_cgroup("/rl.slice/job")
    applied = node.enforcement.apply(policy("rl", "/rl.slice/**"))
    slot = node.store.slot("rl")
    root = node.pins.make_cgroup("/rl.slice")
    assert applied.stored.revision == 1
    assert applied.workloads == 2
    assert node.store.active("rl") == applied.stored
    assert (node.head("rl").revision, node.head("rl").mode) == (1, abi.Mode.ENFORCE)
    assert node.scope("/rl.slice") == (root, 0, slot, CHILDREN | ARMED | SETTLED)
    assert node.scope("/rl.slice/job") == (inside, root, slot, ARMED | SETTLED)
    assert {place for _, place in node.pins.links} == {"/rl.slice"}
    assert set(node.tasks.covered) == {root, inside}


def test_each_form_of_selector_makes_its_workloads(node: Node) -> None:
    for path in ("/one/a/b", "/each/a/b", "/each/c", "/all/a/b", "/beside"):
        node.pins.make_cgroup(path)
    node.enforcement.apply(policy("rl", "/one", "/each/*", "/all/**"))

    def workload(path: str) -> int | None:
        scope = node.scope(path)
        return scope[0] if scope else None

    number = node.pins.make_cgroup
    assert [workload(p) for p in ("/one", "/one/a", "/one/a/b")] == [number("/one")] * 3
    assert workload("/each") is None
    assert [workload(p) for p in ("/each/a", "/each/a/b")] == [number("/each/a")] * 2
    assert workload("/each/c") == number("/each/c")
    assert workload("/all") == number("/all")
    assert [workload(p) for p in ("/all/a", "/all/a/b")] == [number("/all/a")] * 2
    assert workload("/beside") is None
    assert len(node.maps.selectors) == 3


MONITOR = "libpod-conmon-0a1b.scope"


@pytest.mark.parametrize("selector", ["/rl.slice/**", "/rl.slice/*"])
def test_a_containers_monitor_is_no_workload(selector: str, node: Node) -> None:
    inner, beside = f"/rl.slice/{MONITOR}/inner", "/rl.slice/libpod-0a1b.scope"
    for path in (inner, f"{beside}/container", f"/rl.slice/a/{MONITOR}"):
        node.pins.make_cgroup(path)
    node.enforcement.apply(policy("rl", selector))
    node.enforcement.refresh()
    assert (node.scope(f"/rl.slice/{MONITOR}"), node.scope(inner)) == (None, None)
    own = node.scope(beside)
    assert own is not None
    assert node.scope(f"{beside}/container") == own
    # Below a workload's own cgroup the name means nothing.
    assert node.scope(f"/rl.slice/a/{MONITOR}") == node.scope("/rl.slice/a")


def test_what_the_kernel_covered_stays_covered_whatever_it_is_called(node: Node) -> None:
    """It was made from inside a workload."""
    node.enforcement.apply(policy("rl", "/rl.slice/**"))
    made = node.pins.make_cgroup(f"/rl.slice/{MONITOR}")
    slot, root = node.store.slot("rl"), node.pins.make_cgroup("/rl.slice")
    node.maps.scopes.put(made, abi.Scope(workload=made, parent=root, policy=slot, flags=SETTLED))
    node.enforcement.refresh()
    inside = node.scope(f"/rl.slice/{MONITOR}")
    assert inside is not None
    assert inside[0] == made


def test_a_slice_that_is_not_there_is_made_so_that_its_first_workload_is_covered(
    node: Node,
) -> None:
    node.enforcement.apply(policy("rl", "/new.slice/**"))
    assert (node.pins.cgroups / "new.slice").is_dir()
    assert {place for _, place in node.pins.links} == {"/new.slice"}


def test_a_single_cgroup_that_is_not_there_is_warned_of(node: Node) -> None:
    applied = node.enforcement.apply(policy("rl", "/absent"))
    assert applied.workloads == 0
    assert applied.warnings == (
        "spec.select[0].cgroup: no cgroup /absent exists now; it is covered from its making on",
        "no workload is covered yet",
    )


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("/rl.slice/**", "/rl.slice/**"), ("/rl.slice", "/rl.slice/*"),
        ("/rl.slice/a/b", "/rl.slice/**"), ("/rl.slice/**", "/rl.slice/a"),
    ],
)  # fmt: skip
def test_two_policies_for_one_cgroup_are_refused_by_both_names(
    mine: str, theirs: str, node: Node
) -> None:
    node.enforcement.apply(policy("first", theirs))
    with pytest.raises(PolicyConflict) as caught:
        node.enforcement.apply(policy("second", "/other", mine))
    text = str(caught.value)
    assert text.startswith(
        f"policy second: spec.select[1].cgroup: {mine} and {theirs} of policy first"
    )
    assert "lictor policy remove first" in text
    assert node.store.names() == ["first"]


def test_neighbours_with_a_common_beginning_do_not_conflict(node: Node) -> None:
    node.enforcement.apply(policy("first", "/rl.slice/a/**"))
    node.enforcement.apply(policy("second", "/rl.slice/ab/**"))
    node.enforcement.apply(policy("first", "/rl.slice/a/**", "/rl.slice/b"))
    assert node.store.names() == ["first", "second"]


def test_a_next_revision_takes_over_and_lets_go_of_what_it_no_longer_selects(node: Node) -> None:
    for path in ("/kept/job", "/left/job"):
        node.pins.make_cgroup(path)
    node.enforcement.apply(policy("rl", "/kept/**", "/left/**"))
    applied = node.enforcement.apply(policy("rl", "/kept/**", mode="audit"))
    assert applied.stored.revision == 2
    assert (node.head("rl").revision, node.head("rl").mode) == (2, abi.Mode.AUDIT)
    assert node.scope("/kept/job") is not None
    assert (node.scope("/left"), node.scope("/left/job")) == (None, None)
    assert len(node.maps.selectors) == 1


@pytest.mark.parametrize("table", ["paths", "destinations", "devices"])
def test_a_revision_that_does_not_fit_leaves_the_one_before(table: str, node: Node) -> None:
    node.enforcement.apply(policy("rl", "/rl.slice/**"))
    full = getattr(node.maps, table)
    full.room = len(full)
    with pytest.raises(OSError, match=f"map {table}: update"):
        node.enforcement.apply(policy("rl", "/rl.slice/**", mode="audit"))
    assert (node.head("rl").revision, node.head("rl").mode) == (1, abi.Mode.ENFORCE)
    active = node.store.active("rl")
    assert active is not None
    assert active.revision == 1
    assert len(full) == full.room


def _stuck(node: Node, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the table, or the disk, takes nothing new."""
    if table == "disk":

        def full(_: object) -> None:
            raise OSError(28, "No space left on device", "policies/rl/2.json")

        monkeypatch.setattr(node.store, "save", full)
    else:
        found = getattr(node.maps, table)
        found.room = len(found)


@pytest.mark.parametrize("table", ["selectors", "scopes", "disk"])
def test_an_apply_that_gets_stuck_goes_back_to_the_revision_before(
    table: str, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("/old.slice/job", "/new.slice/job"):
        node.pins.make_cgroup(path)
    node.enforcement.apply(policy("rl", "/old.slice/**"))
    before = {key: bytes(scope) for key, scope in node.maps.scopes.items()}
    _stuck(node, table, monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        node.enforcement.apply(policy("rl", "/old.slice/**", "/new.slice/**", mode="audit"))
    assert (node.head("rl").revision, node.head("rl").mode) == (1, abi.Mode.ENFORCE)
    assert {key: bytes(scope) for key, scope in node.maps.scopes.items()} == before
    assert len(node.maps.selectors) == 1
    active = node.store.active("rl")
    assert active is not None
    assert active.revision == 1


@pytest.mark.parametrize("table", ["selectors", "scopes", "disk"])
def test_a_first_apply_that_gets_stuck_covers_nothing(
    table: str, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.pins.make_cgroup("/new.slice/job")
    _stuck(node, table, monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        node.enforcement.apply(policy("rl", "/new.slice/**"))
    assert node.head("rl").mode == abi.Mode.RELEASED
    assert (len(node.maps.scopes), len(node.maps.selectors)) == (0, 0)
    assert node.store.names() == []


def test_a_removed_policy_releases_its_workloads(node: Node) -> None:
    node.pins.make_cgroup("/rl.slice/job")
    node.enforcement.apply(policy("rl", "/rl.slice/**"))
    run = node.pins.make_cgroup("/lictor.slice/run-rl-1")
    node.enforcement.bind("/lictor.slice/run-rl-1", node.store.slot("rl"), 0b11)
    node.enforcement.remove("rl")
    assert node.store.names() == []
    assert node.head("rl").mode == abi.Mode.RELEASED
    assert (len(node.maps.scopes), len(node.maps.selectors)) == (0, 0)
    assert node.maps.scopes.get(run) is None
    with pytest.raises(ValueError, match="policy rl: is not in force"):
        node.enforcement.remove("rl")


def test_a_bound_cgroup_is_a_workload_of_its_own_with_its_grants(node: Node) -> None:
    cgroup = node.pins.make_cgroup("/lictor.slice/run-rl-1")
    assert node.enforcement.bind("/lictor.slice/run-rl-1", 5, 0b110) == cgroup
    scope = node.maps.scopes.get(cgroup)
    assert (scope.workload, scope.policy, scope.grants) == (cgroup, 5, 0b110)
    assert scope.flags == ARMED | SETTLED
    assert {place for _, place in node.pins.links} == {"/lictor.slice/run-rl-1"}


# --- later ------------------------------------------------------------------


def _forget(node: Node) -> None:
    """A boot: the kernel knows nothing, the disk everything."""
    node.maps = MemoryMaps()
    node.maps.control.put(0, owned(1))
    node.restart()


def test_a_restored_node_has_every_policy_as_it_was(node: Node) -> None:
    node.enforcement.apply(policy("one", "/one.slice/**"))
    node.enforcement.apply(policy("two", "/two.slice/**"))
    node.enforcement.apply(policy("two", "/two.slice/**", mode="audit"))
    node.enforcement.apply(policy("gone", "/gone.slice/**"))
    node.enforcement.remove("gone")
    _forget(node)
    restored, problems = node.enforcement.restore()
    assert ([(s.name, s.revision) for s in restored], problems) == ([("one", 1), ("two", 2)], [])
    assert node.head("two").mode == abi.Mode.AUDIT
    assert node.scope("/one.slice") is not None
    assert node.scope("/gone.slice") is None


def test_one_damaged_policy_does_not_keep_the_others_out(node: Node, tmp_path: Path) -> None:
    for name in ("one", "two"):
        node.enforcement.apply(policy(name, f"/{name}.slice/**"))
    (tmp_path / "policies/one/1.json").write_text("{")
    _forget(node)
    restored, [problem] = node.enforcement.restore()
    assert [stored.name for stored in restored] == ["two"]
    assert problem.startswith("policy one is not in force: ")
    assert "1.json: damaged" in problem


def _missing(gpus: object, field_path: str) -> frozenset[DeviceRule]:
    raise ValueError(f"{field_path}: no GPU {gpus}")


def test_a_gpu_that_comes_late_stays_denied_until_it_is_there(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.enforcement.apply(policy("rl", devices={"gpus": [0]}))
    monkeypatch.setattr(gpu, "resolve_gpus", _missing)
    with pytest.raises(ValueError, match="no GPU"):
        node.enforcement.apply(policy("rl", devices={"gpus": [1]}))
    _forget(node)
    assert node.enforcement.restore()[1] == []
    assert len(node.maps.devices) == 0
    found = frozenset({DeviceRule("char", 195, 0)})
    monkeypatch.setattr(gpu, "resolve_gpus", lambda *_: found)
    node.enforcement.refresh_devices()
    assert [(key.major, key.minor) for key, _ in node.maps.devices.items()] == [(195, 0)]
    active = node.store.active("rl")
    assert active is not None
    assert active.revision == node.head("rl").revision == 1


def test_devices_that_stay_as_they_are_compile_nothing(node: Node) -> None:
    node.enforcement.apply(policy("rl", devices={"gpus": "all"}))
    node.enforcement.refresh_devices()
    before = node.maps.policies.get(node.store.slot("rl")).ruleset
    node.enforcement.refresh_devices()
    assert node.maps.policies.get(node.store.slot("rl")).ruleset == before


def test_a_refresh_covers_and_arms_what_was_made_since(node: Node) -> None:
    node.enforcement.apply(policy("rl", "/each/*"))
    node.pins.make_cgroup("/each/late")
    node.enforcement.refresh()
    assert node.scope("/each/late") is not None
    assert {place for _, place in node.pins.links} == {"/each/late"}


def test_a_damaged_policy_does_not_keep_a_refresh_from_the_others(
    node: Node, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        node.enforcement.apply(policy(name, f"/{name}/*"))
    (tmp_path / "policies/a/1.json").write_text("{")
    node.pins.make_cgroup("/b/late")
    node.enforcement.refresh()
    assert node.scope("/b/late") is not None


def test_a_refresh_forgets_links_of_what_is_gone(node: Node) -> None:
    from enforcer import pins

    cgroup = node.pins.make_cgroup("/each/job")
    node.enforcement.apply(policy("rl", "/each/*"))
    assert pins.armed(1) == {cgroup}
    (node.pins.cgroups / "each/job").rmdir()
    node.maps.scopes.delete(cgroup)
    node.enforcement.refresh()
    assert pins.armed(1) == set()


def test_a_cgroup_that_vanishes_during_a_refresh_is_nothing_special(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.enforcement.apply(policy("rl", "/each/*"))
    for name in ("a", "b", "c"):
        node.pins.make_cgroup(f"/each/{name}")
    mark: Callable[[int], None] = node.tasks.mark_covered
    gone = node.pins.make_cgroup("/each/b")

    def vanish(cgroup: int) -> None:
        mark(cgroup)
        if cgroup == gone:
            (node.pins.cgroups / "each/b").rmdir()

    monkeypatch.setattr(node.tasks, "mark_covered", vanish)
    node.enforcement.refresh()
    assert {place for _, place in node.pins.links} == {"/each/a", "/each/c"}


def test_counts_of_old_workloads_go_only_when_room_is_short(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 11):
        node.maps.workloads.put(number, abi.Workload(sequence=number))
        node.maps.consumed.put(number, 1)
    node.maps.scopes.put(1, abi.Scope(workload=1))
    node.tasks.by_tid[7] = tagged(7, workload=2)
    assert node.enforcement.forget_old_workloads() == 0
    monkeypatch.setattr(abi, "MAX_WORKLOADS", 20)
    assert node.enforcement.forget_old_workloads() == 8
    assert sorted(node.maps.workloads.keys()) == [1, 2]
    assert sorted(node.maps.consumed.keys()) == [1, 2]


def test_roots_of_gone_cgroups_make_room(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.maps.scopes.put(100, abi.Scope(workload=100))
    for number, cgroup in enumerate([100, 100, 7, 8]):
        node.maps.roots.put(abi.RootKey(100, number), abi.Root(cgroup=cgroup))
    assert node.enforcement.forget_old_roots() == 0
    monkeypatch.setattr(abi, "MAX_ROOTS", 8)
    assert node.enforcement.forget_old_roots() == 2
    assert [key.namespace for key, _ in node.maps.roots.items()] == [0, 1]


def test_the_programs_are_told_when_atomic_time_is_set(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.maps.control.put(0, abi.Control(owner=9))
    monkeypatch.setattr(clock, "tai_offset", lambda: 37_000_000_000)
    node.enforcement.refresh_clock()
    control = node.maps.control.get(0)
    assert (control.tai_offset, control.owner) == (37_000_000_000, 9)


def test_only_a_settled_cgroup_takes_the_untagged_for_new(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tasks are tagged first: whoever was there before the policy has not just entered."""
    node.pins.make_cgroup("/rl.slice")
    settled_at_walk: list[bool] = []

    def resolve(_tid: int = 0) -> list[object]:
        scopes = [scope for _, scope in node.maps.scopes.items()]
        settled_at_walk.append(any(scope.flags & SETTLED for scope in scopes))
        return []

    monkeypatch.setattr(node.tasks, "resolve", resolve)
    node.enforcement.apply(policy("rl", "/rl.slice/**"))
    assert settled_at_walk == [False]
    assert all(scope.flags & SETTLED for _, scope in node.maps.scopes.items())
    node.enforcement.refresh()
    assert settled_at_walk == [False]
