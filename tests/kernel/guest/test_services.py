# SPDX-License-Identifier: Apache-2.0
"""Lictor's systemd services after a boot: in force before the first container, and kept alive.

Runs in a VM of its own, which services.py has set up and booted anew.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from enforcer import paths
from tests.kernel.guest.programs import run_lictor, wait_until
from tests.kernel.guest.services import CONTAINER, POLICY, PORT, SLICE, UNITS, connections, run
from tests.kernel.guest.world import Lictor


def _property(unit: str, name: str) -> str:
    return run("systemctl", "show", "--property", name, "--value", unit).strip()


def _denials() -> list[dict[str, Any]]:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    told = Lictor().events(policy=POLICY, decision="denied", kind="connect")
    return [event for event in told if event["boot"] == boot]


@pytest.fixture(scope="module", autouse=True)
def attempts() -> None:
    """The container runs, and has tried."""
    wait_until(
        lambda: run("podman", "inspect", "--format", "{{.State.Running}}", CONTAINER) == "true\n",
        "the container",
    )
    wait_until(_denials, "the container's first attempt")


@pytest.mark.parametrize("unit", UNITS)
def test_service_runs_after_the_boot(unit: str) -> None:
    # The uplink says that it is ready once the control plane has heard of this node.
    wait_until(lambda: _property(unit, "ActiveState") == "active", unit)
    assert _property(unit, "NRestarts") in ("0", "")


def test_agents_canary_runs_under_its_unit() -> None:
    # The unit's restrictions hold for the canary's own attempts outside of its cgroup, too.
    wait_until(
        lambda: _property("lictor-enforcer", "StatusText").startswith("enforcing ("),
        "the agent's word that it enforces",
    )
    state = json.loads(paths.CANARY_STATE.read_text())
    assert (state["enforcing"], state["failures"], state["problem"]) == (True, 0, "")


def test_not_one_attempt_of_the_first_container_got_through() -> None:
    assert os.environ["LICTOR_BOOT"] == "2"
    before = connections()
    # The listener hears; it is the container that does not get there.
    socket.create_connection(("127.0.0.1", PORT)).close()
    wait_until(lambda: connections() > before, "our own connection")
    assert connections() == before + 1
    assert before == 0


def test_policies_were_in_force_before_containers_started() -> None:
    in_force = int(_property("lictor-loader", "ExecMainExitTimestampMonotonic"))
    started = int(_property("podman-restart", "ExecMainStartTimestampMonotonic"))
    assert 0 < in_force < started
    assert json.loads(run_lictor("doctor", "--json").stdout)["enforcing"] is True


def test_container_is_a_workload_from_its_first_attempt() -> None:
    first = min(_denials(), key=lambda event: event["sequence"])
    assert first["workload"].startswith(SLICE)


@pytest.mark.parametrize("unit", ["lictor-enforcer", "lictor-controlplane", "lictor-uplink"])
def test_killed_service_comes_back_and_nothing_gets_through(unit: str) -> None:
    before, pid = connections(), int(_property(unit, "MainPID"))
    os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        now = int(_property(unit, "MainPID"))
        return now not in (0, pid) and _property(unit, "ActiveState") == "active"

    wait_until(back, f"{unit} to come back")
    assert connections() == before


def test_stop_of_the_agent_and_reload_of_systemd_open_nothing() -> None:
    before = connections()
    run("systemctl", "stop", "lictor-enforcer")
    assert not paths.ADMIN_SOCKET.exists() or run_lictor("policy", "list").returncode != 0
    run("systemctl", "daemon-reload")
    run("systemctl", "stop", "lictor-loader")
    # Nothing but time can show that attempts go on and get nowhere.
    subprocess.run(["sleep", "3"], check=True)
    assert connections() == before
    run("systemctl", "start", "lictor-loader", "lictor-enforcer", "lictor-uplink")
    seen = len(_denials())
    wait_until(lambda: len(_denials()) > seen, "attempts, still denied")
    assert connections() == before


def test_root_in_a_workload_is_not_the_control_planes_operator() -> None:
    wait_until(lambda: run_lictor("nodes", "--json").returncode == 0, "the control plane")
    inside = run_lictor("run", "--policy", POLICY, "--", "lictor", "nodes", "--json")
    assert inside.returncode != 0
    assert "a token is needed" in inside.stderr
    removed = run_lictor("run", "--policy", POLICY, "--", "lictor", "policy", "remove", POLICY)
    assert removed.returncode != 0
    assert POLICY in run_lictor("policy", "list").stdout


def test_control_plane_has_the_incident() -> None:
    def incidents() -> list[dict[str, Any]]:
        found = json.loads(run_lictor("incidents", "--json").stdout)["incidents"]
        return [each for each in found if each["workload"].startswith(SLICE)]

    wait_until(incidents, "the container's incident")
    assert {each["kind"] for each in incidents()} == {"egress"}
