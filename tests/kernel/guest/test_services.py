# SPDX-License-Identifier: Apache-2.0
"""Lictor's systemd services after a boot: in force before the first container, and kept alive.

Runs in a VM of its own, which services.py has set up and booted anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controlplane.client import ApiClient
from enforcer import cgroups, paths
from enforcer.preflight import attach_mode
from tests.kernel.guest.programs import run_lictor, wait_until
from tests.kernel.guest.services import CONTAINER, POLICY, PORT, SLICE, UNITS, connections, run
from tests.kernel.guest.world import Lictor

DAEMONS = ("lictor-enforcer", "lictor-controlplane", "lictor-uplink")
KILLS = 5
ENOUGH_ATTEMPTS = 300
FIRST_PORT = 20000
# Until its input ends: one connect to each port, and how often it ended in which errno.
_ATTEMPTS = f"""\
import collections, errno, json, select, socket, sys
results = collections.Counter()
port = {FIRST_PORT}
while not select.select([sys.stdin], [], [], 0.05)[0]:
    with socket.socket() as client:
        results[errno.errorcode.get(client.connect_ex(("127.0.0.1", port)), "connected")] += 1
    port += 1
print(json.dumps(results))
"""
# A preemptible kernel may skip an fmod_ret program (docs/limits.md). Then the connection's first
# packet is denied, and the agent ends it.
_DENIED_BY_PACKET = {"ECONNABORTED", "ETIMEDOUT"}


def _property(unit: str, name: str) -> str:
    return run("systemctl", "show", "--property", name, "--value", unit).strip()


@dataclass
class Attempting:
    """A workload that connects to one port after the other; `ended`: what came of it."""

    path: str
    ended: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """The kernel's, as `lictor workloads` gives them."""
        listed = json.loads(run_lictor("workloads", "--json", "--node-only").stdout)
        rows = [each["workload"] for each in listed["workloads"]]
        [row] = [row for row in rows if row["path"] == self.path]
        return {name: value for name, value in row.items() if isinstance(value, int)}


@contextlib.contextmanager
def _attempting() -> Iterator[Attempting]:
    made = Attempting(f"{SLICE}/attempting")
    folder = cgroups.folder(made.path)
    folder.mkdir()
    command = f'echo $$ > {folder}/cgroup.procs; exec /usr/bin/python3 -c "$1"'
    with subprocess.Popen(
        ["bash", "-c", command, "bash", _ATTEMPTS], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        yield made
        output, _ = process.communicate()
    made.ended.update(json.loads(output))


def _wait_active(unit: str) -> None:
    wait_until(lambda: _property(unit, "ActiveState") == "active", unit)


def _kill(unit: str) -> None:
    """Kill it, and if it is dead already, as soon as systemd has started it again."""

    def killed() -> bool:
        pid = int(_property(unit, "MainPID"))
        with contextlib.suppress(ProcessLookupError):
            if pid != 0:
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    wait_until(killed, f"a process of {unit}")


def _kill_again_and_again() -> None:
    """Kill each daemon KILLS times: at work, while it starts, and together with others."""
    # The same moments in each run, as far as the machine repeats itself.
    moments = random.Random(20261123)
    order = list(DAEMONS) * KILLS
    moments.shuffle(order)
    for number, unit in enumerate(order):
        if number % 2:
            _wait_active(unit)
        time.sleep(moments.uniform(0, 3))
        _kill(unit)


async def _events_of(path: str) -> list[dict[str, Any]]:
    """All that the control plane has of a workload, in the order of arrival."""
    found: list[dict[str, Any]] = []
    async with ApiClient(f"unix:{paths.CONTROLPLANE_SOCKET}") as client:
        after = 0
        while True:
            page = await client.events(workload=path, after=after, limit=1000)
            if not page.events:
                return found
            found += [stored.event for stored in page.events]
            after = page.next


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
    _wait_active(unit)
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


def test_first_program_of_the_container_is_judged_and_the_runtime_before_it_is_not() -> None:
    """crun starts a copy of itself from memory, which no rule allows to a workload."""
    told = Lictor().events(policy=POLICY, kind="exec")
    assert {event["object"]["path"] for event in told} == {"/bin/knock"}
    assert {event["decision"] for event in told} == {"allowed"}
    assert {event["reason"] for event in _denials()} == {"not_allowed"}


def test_program_that_is_not_listed_does_not_enter_the_container() -> None:
    def enter(program: str) -> subprocess.CompletedProcess[str]:
        words = ["podman", "exec", CONTAINER, program, "127.0.0.1", str(PORT), "1", "1"]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    before = connections()
    denied = enter("/bin/other")
    assert "permi" in denied.stderr.lower(), denied.stderr
    enter("/bin/knock")
    told = Lictor().events(policy=POLICY, kind="exec")
    found = [(event["object"]["path"], event["decision"]) for event in told[-2:]]
    assert found == [("/bin/other", "denied"), ("/bin/knock", "allowed")]
    assert connections() == before


@pytest.mark.parametrize("unit", DAEMONS)
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


def test_nothing_is_lost_or_doubled_by_kills_at_any_moment() -> None:
    """Each attempt is in the control plane once, whatever was killed while it was on its way."""
    with _attempting() as made:
        _kill_again_and_again()
    for unit in DAEMONS:
        _wait_active(unit)
    late = set() if attach_mode() == "lsm" else _DENIED_BY_PACKET
    assert set(made.ended) <= {"EPERM", *late}, made.ended
    attempts = sum(made.ended.values())
    assert attempts > ENOUGH_ATTEMPTS

    counts = made.counts()
    lost = counts["suppressed"] + counts["lost"]
    expected = counts["events"] - lost
    stored: list[dict[str, Any]] = []

    def arrived() -> bool:
        stored[:] = asyncio.run(_events_of(made.path))
        return len(stored) >= expected

    wait_until(arrived, f"{expected} events in the control plane", seconds=300)
    numbers = [event["sequence"] for event in stored]
    assert len(numbers) == len(set(numbers)) == expected
    assert set(numbers) <= set(range(1, counts["events"] + 1))
    ports = [event["object"]["port"] for event in stored if event["decision"] == "denied"]
    assert len(ports) == len(set(ports))
    assert set(ports) <= set(range(FIRST_PORT, FIRST_PORT + attempts))
    # So slow an attempt is nothing that a ring or a quota has no room for.
    assert (len(ports), lost) == (attempts, 0)
    listed = json.loads(run_lictor("incidents", "--json").stdout)["incidents"]
    incidents = [each for each in listed if each["workload"] == made.path]
    assert [(each["kind"], each["denied"], each["audited"]) for each in incidents] == [
        ("egress", attempts, 0)
    ], (incidents, [event for event in stored if event["decision"] != "denied"])


def test_control_plane_has_the_incident() -> None:
    def incidents() -> list[dict[str, Any]]:
        found = json.loads(run_lictor("incidents", "--json").stdout)["incidents"]
        return [each for each in found if each["workload"].startswith(SLICE)]

    wait_until(incidents, "the container's incident")
    # Its connects, and the program that was not let in.
    assert {each["kind"] for each in incidents()} == {"egress", "exec"}
