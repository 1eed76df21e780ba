# SPDX-License-Identifier: Apache-2.0
"""Only a denial that happened is one: here nothing denies, and the canary must say so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from enforcer import abi, canary, cgroups
from enforcer.canary import ATTEMPTS, CanaryReport, run_canary
from enforcer.names import CANARY_SLOT
from tests.unit.enforcer import fake_pins
from tests.unit.enforcer.fake_pins import owned
from tests.unit.enforcer.tables import MemoryMaps, MemoryTasks


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = fake_pins.install(tmp_path, monkeypatch)
    fake.load(1)
    monkeypatch.setattr(canary, "Tasks", lambda _: MemoryTasks())
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


def test_a_canary_leaves_nothing_but_its_policy(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "_attempts", _removing)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (names of descriptors)
    for _ in range(2):
        run_canary(memory)
    assert list((tmp_path / "cgroup").iterdir()) == []
    assert len(memory.scopes) == 0
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


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("outcome", ["done", "failed: [Errno 13]", None])
def test_one_attempt_that_is_not_denied_is_not_enforcing(attempt: str, outcome: str | None) -> None:
    results = dict.fromkeys(ATTEMPTS, "denied")
    assert CanaryReport(results).enforcing
    changed = (
        {**results, attempt: outcome} if outcome else {n: "denied" for n in results if n != attempt}
    )
    assert not CanaryReport(changed).enforcing
