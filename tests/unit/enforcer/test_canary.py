# SPDX-License-Identifier: Apache-2.0
"""Only a denial that happened is one: here nothing denies, and the canary must say so."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from enforcer import abi, canary, cgroups, paths, pins
from enforcer.abi import ScopeFlag
from enforcer.canary import CGROUP, exclusively, remove_cgroup, run_canary
from enforcer.canary_state import CanaryReport
from enforcer.names import CANARY_SLOT
from tests.unit.enforcer import fake_pins
from tests.unit.enforcer.fake_pins import owned
from tests.unit.enforcer.tables import MemoryMaps, MemoryTasks

DENIED = dict.fromkeys(("connect", "send", "device", "exec"), "denied")


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = fake_pins.install(tmp_path, monkeypatch)
    fake.load(1)
    monkeypatch.setattr(canary, "Tasks", lambda _: MemoryTasks())
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    made = MemoryMaps()
    made.control.put(0, owned(1))
    return made


def _removing(path: str) -> dict[str, str]:
    """Attempts, and what a kernel does that a folder of files does not: rmdir takes them too."""
    results = canary_attempts(path)
    (cgroups.folder(path) / "cgroup.procs").unlink(missing_ok=True)
    return results


canary_attempts = canary._attempts


def test_attempts_that_nobody_denies_are_told_as_what_they_did(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "_attempts", _removing)
    report = run_canary(memory)
    assert report.results == {
        "connect": "connected", "send": "sent", "device": "done", "exec": "started",
    }  # fmt: skip
    assert not report.enforcing


def test_a_canary_leaves_nothing_but_its_policy_and_its_cgroup(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "_attempts", _removing)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (names of descriptors)
    for _ in range(2):
        run_canary(memory)
    assert list((tmp_path / "cgroup").iterdir()) == [cgroups.folder(CGROUP)]
    assert len(memory.scopes) == 0
    assert pins.armed(1) == set()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    head = memory.rulesets.get(memory.policies.get(CANARY_SLOT).ruleset)
    assert (head.mode, head.loopback, any(head.any)) == (abi.Mode.ENFORCE, 0, False)


def test_a_child_that_cannot_enter_its_cgroup_proves_nothing(tmp_path: Path) -> None:
    results = canary_attempts(str(tmp_path / "absent"))
    assert not CanaryReport(results).enforcing
    assert results["exec"].startswith("ended with")


def test_an_attempt_that_fails_outside_too_proves_nothing(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "DEVICE", "/no/such/device")
    report = run_canary(memory)
    assert not report.enforcing
    assert report.results["device"].startswith("fails outside too: failed: [Errno 2]")


def test_who_is_in_the_cgroup_finds_it_covered_and_armed(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempts(path: str) -> dict[str, str]:
        cgroup = cgroups.cgroup_id(path)
        scope = memory.scopes.get(cgroup)
        assert (scope.workload, scope.policy) == (cgroup, CANARY_SLOT)
        # What the agent looks for to disarm, and to settle: it shall leave this one alone.
        assert scope.flags == ScopeFlag.ARMED | ScopeFlag.SETTLED
        assert pins.armed(1) == {cgroup}
        return {}

    monkeypatch.setattr(canary, "_attempts", attempts)
    run_canary(memory)


def test_the_cgroup_stays_the_same(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each other one would set another bit of the kernel's filter."""
    seen: list[int] = []

    def attempts(path: str) -> dict[str, str]:
        seen.append(cgroups.cgroup_id(path))
        return DENIED

    monkeypatch.setattr(canary, "_attempts", attempts)
    for _ in range(3):
        run_canary(memory)
    assert len(set(seen)) == 1


def test_a_canary_after_one_that_was_killed_finds_its_way(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroup = cgroups.folder(CGROUP)
    cgroup.mkdir()
    pins.arm(1, CGROUP)
    memory.scopes.put(cgroup.stat().st_ino, abi.Scope(policy=CANARY_SLOT))
    monkeypatch.setattr(canary, "_attempts", lambda _: DENIED)
    assert run_canary(memory).enforcing
    assert (len(memory.scopes), pins.armed(1)) == (0, set())


def test_two_canaries_do_not_meet(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once: list[int] = []
    running: list[None] = []

    def attempts(_path: str) -> dict[str, str]:
        running.append(None)
        at_once.append(len(running))
        time.sleep(0.05)
        running.pop()
        return DENIED

    monkeypatch.setattr(canary, "_attempts", attempts)
    with exclusively():
        threads = [threading.Thread(target=run_canary, args=(memory,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        assert at_once == []
    for thread in threads:
        thread.join()
    assert at_once == [1, 1, 1]


def test_the_cgroup_goes_if_it_is_not_in_use(memory: Any) -> None:
    remove_cgroup()
    cgroups.folder(CGROUP).mkdir()
    remove_cgroup()
    assert not cgroups.exists(CGROUP)
