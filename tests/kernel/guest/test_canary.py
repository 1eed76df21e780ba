# SPDX-License-Identifier: Apache-2.0
"""The agent finds out by itself that a denial does not happen, and says so within a period."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from enforcer import maps, paths, pins
from tests.kernel.guest.attempts.devices import open_read
from tests.kernel.guest.child import Outcome
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.programs import agent_log, run_lictor, wait_until
from tests.kernel.guest.world import Lictor, denied

PERIOD = 5
EMULATION = 20
"""Seconds that one canary, and our own looking, may take in an emulated machine."""
NOT_ENFORCING = "NOT ENFORCING: the canary was not denied: {'device': 'done'}"

Status = Callable[[], dict[str, Any]]


@pytest.fixture
def status(lictor: Lictor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Status]:
    """The agent's word on this node, with a canary every PERIOD."""
    monkeypatch.setenv("LICTOR_CANARY_SECONDS", str(PERIOD))
    lictor.up()
    yield lambda: lictor.request("status")
    monkeypatch.undo()
    lictor.up()


def _doctor() -> tuple[int, dict[str, Any]]:
    done = run_lictor("doctor", "--json")
    return done.returncode, json.loads(done.stdout)


def test_a_hook_that_is_gone_is_told_within_a_period(
    lictor: Lictor, status: Status, confine: Confine
) -> None:
    started = time.time()
    wait_until(lambda: (status()["canary_at"] or 0) > started, "a canary of the agent's own")
    assert (status()["enforcing"], status()["problem"]) == (True, "")
    workload = confine("devices: none")
    assert denied(workload.run(open_read, "/dev/null"))
    log = paths.LOG / "agent.log"
    before = log.read_text().count(NOT_ENFORCING)

    (pins.set_folder(pins.owner(maps.Maps.open())) / "device_file_open").unlink()
    # The kernel takes the program off some time after its last pin: from here on it is open.
    wait_until(lambda: workload.run(open_read, "/dev/null") == Outcome(), "the open device")
    opened = time.time()
    wait_until(lambda: not status()["enforcing"], "the agent's word")
    assert time.time() - opened < PERIOD + EMULATION
    told = status()
    assert told["problem"] == "the canary was not denied: {'device': 'done'}"
    # Again each period, as long as it is so.
    wait_until(lambda: log.read_text().count(NOT_ENFORCING) >= before + 2, "the log")
    code, report = _doctor()
    assert (code, report["enforcing"], report["reported"]["enforcing"]) == (4, False, False)
    assert report["reported"]["enforcing_since"] == told["enforcing_since"]

    lictor.up()
    assert denied(workload.run(open_read, "/dev/null"))
    wait_until(lambda: status()["enforcing"], "the agent's word that it enforces again")
    assert status()["enforcing_since"] > told["enforcing_since"]
    code, report = _doctor()
    assert (code, report["enforcing"], report["reported"]["enforcing"]) == (0, True, True)
    assert "enforcing: all that the canary tried was denied" in agent_log()


def test_canaries_of_agent_and_doctor_do_not_disturb_each_other(status: Status) -> None:
    first = status()["canary_at"]
    for _ in range(3):
        code, report = _doctor()
        assert (code, report["problem"]) == (0, "")
    wait_until(lambda: status()["canary_at"] > first + 2 * PERIOD, "the agent's canaries")
    assert (status()["enforcing"], status()["problem"]) == (True, "")
