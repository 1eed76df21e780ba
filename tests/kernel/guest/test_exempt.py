# SPDX-License-Identifier: Apache-2.0
"""An exempt workload gets through, on record; its time ends in the kernel; nobody else gains."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.wire import PROTOCOL_VERSION, RequestError, encode
from enforcer import abi, paths
from enforcer.client import EnforcerClient
from enforcer.maps import Maps
from tests.kernel.guest.attempts import sockets
from tests.kernel.guest.attempts.battery import KINDS, everything
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.network import FAR4, INSIDE, FarSide
from tests.kernel.guest.nodes import CountedNode
from tests.kernel.guest.programs import compiled, run_lictor, wait_until
from tests.kernel.guest.test_audit import REFUSED
from tests.kernel.guest.test_outside import broken
from tests.kernel.guest.world import Lictor, Workload

SHUT = "egress: none\nexec: none\ndevices: none"
ARRIVALS = 7  # of the battery's attempts, what reaches the far side
WHY = "checkpoint cannot be uploaded"


@pytest.fixture
def shut(confine: Confine) -> Workload:
    return confine(SHUT)


def connect(workload: Workload) -> int | None:
    """The errno that a connect to the far side met."""
    target = sockets.ipv4(FAR4, 80)
    return workload.run(sockets.stream, socket.AF_INET, target, namespace=INSIDE).errno


def battery(workload: Workload, node: CountedNode) -> set[int]:
    """The errnos that every kind of attempt met; the device must have seen what they say."""
    node.opens()
    outcome = workload.run(everything, compiled("witness"), node.path, namespace=INSIDE)
    results: dict[str, int] = outcome.value
    assert node.opens() == (results["device"] == 0)
    return {results[name] for name in KINDS}


def exempt(lictor: Lictor, workload: Workload, seconds: float = 3600) -> dict[str, Any]:
    fields = {"workload": workload.path, "seconds": seconds, "reason": WHY}
    row: dict[str, Any] = lictor.request("exempt", **fields)["exemption"]
    return row


def end(lictor: Lictor, workload: Workload) -> None:
    lictor.request("exempt.end", workload=workload.path)


def test_an_exempt_workload_gets_through_and_its_neighbour_does_not(
    lictor: Lictor, far_side: FarSide, shut: Workload
) -> None:
    neighbour = lictor.workload(shut.policy)
    try:
        far_side.mark()
        assert (connect(shut), connect(neighbour)) == (errno.EPERM, errno.EPERM)
        assert far_side.seen() == []

        done = run_lictor("exempt", shut.path, "--for", "10m", "--reason", WHY)
        assert done.returncode == 0, done.stderr
        assert "EXEMPT until" in done.stderr
        assert (connect(shut), connect(neighbour)) == (None, errno.EPERM)
        assert [packet.port for packet in far_side.seen()] == [80]
        assert WHY in run_lictor("exempt", "--list").stdout
        assert WHY in run_lictor("workloads").stdout

        assert run_lictor("exempt", shut.path, "--end").returncode == 0
        assert connect(shut) == errno.EPERM
        assert far_side.seen() == []
        assert run_lictor("exempt", shut.path, "--end").returncode == 1
    finally:
        neighbour.finish()


def test_it_is_all_on_record(lictor: Lictor, shut: Workload) -> None:
    connect(shut)
    exempt(lictor, shut)
    connect(shut)
    end(lictor, shut)
    connect(shut)
    told = lictor.events(workload=shut.path)
    assert [(each["kind"], each["decision"], each["tag"]["exempt"]) for each in told] == [
        ("connect", "denied", False),
        ("exempt", "audited", False),
        ("connect", "audited", True),
        ("exempt_end", "allowed", False),
        ("connect", "denied", False),
    ]
    assert [each["sequence"] for each in told] == [1, None, 2, None, 3]
    assert told[2]["reason"] == "not_allowed"
    about = {name: told[1]["object"][name] for name in ("reason", "uid")}
    assert about == {"reason": WHY, "uid": 0}
    assert told[1]["subject"]["pid"] == os.getpid()
    assert told[3]["object"]["cause"] == "ended"


def test_every_kind_of_attempt_is_let_pass_and_then_denied_again(
    lictor: Lictor, far_side: FarSide, gpus: dict[str, CountedNode], shut: Workload
) -> None:
    node = gpus["nvidia0"]
    far_side.mark()
    assert battery(shut, node) == REFUSED
    assert far_side.seen() == []
    exempt(lictor, shut)
    shut.mark()
    assert battery(shut, node) == {0}
    assert len(far_side.seen()) == ARRIVALS
    told = [each for each in shut.fresh_events() if each["kind"] in KINDS.values()]
    assert {each["decision"] for each in told} == {"audited"}
    assert all(each["tag"]["exempt"] for each in told)
    end(lictor, shut)
    assert battery(shut, node) == REFUSED
    assert far_side.seen() == []


@pytest.mark.parametrize("spec", ["egress: any", "mode: audit"])
def test_a_lost_ruleset_is_let_pass(
    spec: str, lictor: Lictor, far_side: FarSide, confine: Confine
) -> None:
    workload = confine(spec)
    with broken(workload.policy, 0):
        assert connect(workload) == errno.EPERM
        exempt(lictor, workload)
        far_side.mark()
        assert connect(workload) is None
        assert len(far_side.seen()) == 1
        end(lictor, workload)
        assert connect(workload) == errno.EPERM


def test_what_the_policy_audits_anyway_is_not_said_to_be_exempt(
    lictor: Lictor, confine: Confine
) -> None:
    workload = confine("mode: audit\negress: none")
    exempt(lictor, workload)
    assert connect(workload) is None
    [event] = workload.events(kind="connect")
    assert (event["decision"], event["tag"]["exempt"]) == ("audited", False)


def test_its_time_ends_while_the_agent_is_stopped(
    lictor: Lictor, far_side: FarSide, shut: Workload
) -> None:
    pid = int(paths.AGENT_PID.read_text())
    begun = time.monotonic()
    exempt(lictor, shut, seconds=20)
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: "T (stopped)" in Path(f"/proc/{pid}/status").read_text(), "SIGSTOP")
        far_side.mark()
        first = connect(shut)
        assert time.monotonic() < begun + 20
        assert first is None
        assert len(far_side.seen()) == 1
        time.sleep(begun + 20.5 - time.monotonic())
        assert connect(shut) == errno.EPERM
        assert far_side.seen() == []
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: lictor.events(workload=shut.path, kind="exempt_end"), "the end's event")
    [ended] = lictor.events(workload=shut.path, kind="exempt_end")
    assert ended["object"]["cause"] == "expired"
    assert connect(shut) == errno.EPERM


def test_a_workloads_exemption_goes_with_it(lictor: Lictor, shut: Workload) -> None:
    workload = lictor.workload(shut.policy)
    exempt(lictor, workload)
    workload.finish()
    wait_until(lambda: lictor.events(workload=workload.path, kind="exempt_end"), "the end's event")
    [ended] = lictor.events(workload=workload.path, kind="exempt_end")
    assert ended["object"]["cause"] == "workload_ended"
    maps = Maps.open()
    try:
        assert maps.exemptions.get(workload.id) is None
    finally:
        maps.close()


def ask(operation: str, fields: dict[str, Any]) -> str:
    try:
        with EnforcerClient(paths.ADMIN_SOCKET) as client:
            client.request(operation, **fields)
    except RequestError as error:
        return error.code
    return "done"


def ask_and_leave(operation: str, fields: dict[str, Any]) -> None:
    """Gone before the agent has looked at who asks."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(paths.ADMIN_SOCKET))
    client.sendall(encode({"version": PROTOCOL_VERSION, "operation": operation, **fields}))


def test_root_in_a_workload_exempts_nobody(
    lictor: Lictor, far_side: FarSide, shut: Workload
) -> None:
    fields = {"workload": shut.path, "seconds": 3600, "reason": WHY}
    assert shut.run(ask, "exempt", fields).value == "not_allowed"
    pid = int(paths.AGENT_PID.read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        shut.run(ask_and_leave, "exempt", fields)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert lictor.request("exempt.list")["exemptions"] == []
    assert lictor.events(workload=shut.path, kind="exempt") == []
    far_side.mark()
    assert connect(shut) == errno.EPERM
    assert far_side.seen() == []


def test_an_entry_of_the_past_lets_nothing_pass(far_side: FarSide, shut: Workload) -> None:
    maps = Maps.open()
    try:
        maps.exemptions.put(
            shut.id, abi.Exemption(until=time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 1)
        )
        far_side.mark()
        assert connect(shut) == errno.EPERM
        assert far_side.seen() == []
    finally:
        maps.exemptions.delete(shut.id)
        maps.close()
