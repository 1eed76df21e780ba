# SPDX-License-Identifier: Apache-2.0
"""Outside workloads nothing is ever denied; inside, a failure of ours denies and says why."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enforcer import abi, cgroups
from enforcer.maps import Maps
from enforcer.store import PolicyStore
from tests.kernel.guest.attempts.battery import KINDS, everything
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.network import INSIDE, FarSide
from tests.kernel.guest.nodes import CountedNode
from tests.kernel.guest.programs import compiled
from tests.kernel.guest.world import AppliedPolicy, Lictor, Workload

SHUT = "egress: none\nexec: none\ndevices: none"
WORKS = dict.fromkeys(KINDS, 0)
FAILS = {**dict.fromkeys(KINDS, errno.EPERM), "implied": errno.ENOTCONN}
ARRIVALS = 7  # of the battery's attempts, what reaches the far side
UNUSED_RULESET = abi.MAX_RULESETS - 1

Try = Callable[[Workload | str | None], dict[str, int]]


@pytest.fixture
def try_all(far_side: FarSide, gpus: dict[str, CountedNode]) -> Try:
    """Make every kind of attempt in a workload, in a cgroup by its path, or outside all.

    What the attempts say and what the far side and the device saw must agree.
    """
    node = gpus["nvidia0"]

    def make(place: Workload | str | None) -> dict[str, int]:
        arguments = (everything, compiled("witness"), node.path)
        far_side.mark()
        node.opens()
        if isinstance(place, Workload):
            outcome = place.run(*arguments, namespace=INSIDE)
        else:
            outcome = attempt(*arguments, namespace=INSIDE, cgroup=place)
        results: dict[str, int] = outcome.value
        # Two of the battery are neither packets nor datagrams.
        succeeded = [name for name in KINDS if results[name] == 0]
        assert len(far_side.seen()) == len(set(succeeded) - {"exec", "device"})
        assert node.opens() == ("device" in succeeded)
        return results

    return make


def without_pid(results: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in results.items() if name != "pid"}


@pytest.fixture
def shut(confine: Confine) -> Workload:
    """A workload that may do nothing at all."""
    return confine(SHUT)


def test_outside_everything_works_and_is_not_told(
    lictor: Lictor, try_all: Try, shut: Workload
) -> None:
    results = try_all(None)
    assert without_pid(results) == WORKS
    assert without_pid(try_all(shut)) == FAILS
    assert [event for event in lictor.events() if event["subject"]["pid"] == results["pid"]] == []


def test_cgroup_that_no_policy_covers_is_outside(try_all: Try, shut: Workload) -> None:
    path = "/guest-free.slice"
    folder = cgroups.folder(path)
    (folder / "inner").mkdir(parents=True)
    try:
        assert without_pid(try_all(f"{path}/inner")) == WORKS
    finally:
        (folder / "inner").rmdir()
        folder.rmdir()


@contextlib.contextmanager
def broken(policy: AppliedPolicy, ruleset: int) -> Iterator[None]:
    """The policy's slot points to a ruleset that is not there, until the end."""
    maps, slot = Maps.open(), PolicyStore().slot(policy.name)
    try:
        before = maps.policies.get(slot)
        maps.policies.put(slot, abi.Policy(ruleset=ruleset))
        try:
            yield
        finally:
            maps.policies.put(slot, before)
    finally:
        maps.close()


@pytest.mark.parametrize("ruleset", [0, UNUSED_RULESET, abi.MAX_RULESETS + 7])
def test_lost_ruleset_denies_inside_and_nothing_outside(
    ruleset: int, try_all: Try, confine: Confine
) -> None:
    workload = confine("egress: any")
    assert without_pid(try_all(workload)) == WORKS
    workload.mark()

    with broken(workload.policy, ruleset):
        assert without_pid(try_all(workload)) == FAILS
        assert without_pid(try_all(None)) == WORKS

    told = [
        (event["kind"], event["decision"], event["reason"]) for event in workload.fresh_events()
    ]
    assert told == [(kind, "denied", "no_policy") for kind in KINDS.values()]
    assert without_pid(try_all(workload)) == WORKS


def test_lost_ruleset_denies_in_audit_mode_too(try_all: Try, confine: Confine) -> None:
    """The mode is part of what was lost."""
    workload = confine("mode: audit")
    with broken(workload.policy, 0):
        assert without_pid(try_all(workload)) == FAILS


def test_workload_whose_sends_are_not_watched_yet_gets_no_socket(
    try_all: Try, confine: Confine
) -> None:
    workload = confine("egress: any")
    maps = Maps.open()
    try:
        scope = maps.scopes.get(workload.id)
        assert scope is not None
        flags = scope.flags
        scope.flags = flags & ~abi.ScopeFlag.ARMED
        maps.scopes.put(workload.id, scope)
        results = without_pid(try_all(workload))
        scope.flags = flags
        maps.scopes.put(workload.id, scope)
    finally:
        maps.close()
    sockets = [name for name, kind in KINDS.items() if kind in ("connect", "send")]
    assert results == {**WORKS, **dict.fromkeys(sockets, errno.EPERM)}
    assert [event["reason"] for event in workload.events() if event["decision"] == "denied"] == [
        "unarmed"
    ] * len(sockets)
    assert without_pid(try_all(workload)) == WORKS


def test_removed_policy_denies_nothing_more(lictor: Lictor, try_all: Try) -> None:
    policy = lictor.policy(SHUT)
    workload = lictor.workload(policy)
    try:
        assert without_pid(try_all(workload)) == FAILS
        lictor.remove(policy)
        assert without_pid(try_all(workload)) == WORKS
    finally:
        workload.finish()


def test_own_name_decides_nothing(try_all: Try, shut: Workload) -> None:
    """A task may call itself as it likes: a shell, the agent, nothing."""

    def named(name: str) -> int:
        Path("/proc/self/comm").write_text(name)
        return everything("/bin/true", "/dev/null")["device"]

    for name in ("lictor", "systemd", "\n\x1b[0m", "(sd-pam)"):
        assert shut.run(named, name) == Outcome(errno.EPERM)
