# SPDX-License-Identifier: Apache-2.0
"""Enforcement and the record outlive the agent: killed, stopped, restarted, upgraded."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from enforcer import abi, cgroups, maps, paths, pins
from enforcer.reader import BATCH_BYTES
from enforcer.spool import read_events
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.network import FAR4, INSIDE, FarSide
from tests.kernel.guest.programs import agent_log, compiled, run_lictor, wait_until
from tests.kernel.guest.world import Lictor, Workload


def _agent_pid() -> int:
    return int(Path(paths.AGENT_PID).read_text())


def _kill(lictor: Lictor) -> None:
    os.kill(_agent_pid(), signal.SIGKILL)
    lictor.up()


def _stop_and_go(lictor: Lictor) -> None:
    pid = _agent_pid()
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: "T (stopped)" in Path(f"/proc/{pid}/status").read_text(), "SIGSTOP")
    os.kill(pid, signal.SIGCONT)
    lictor.request("drain")


def _down_and_up(lictor: Lictor) -> None:
    assert run_lictor("down").returncode == 0
    lictor.up()


def _load_twice(lictor: Lictor) -> None:
    for _ in range(2):
        assert run_lictor("up", "--node-only", "--reload").returncode == 0


def _knock(seconds: float) -> list[str]:
    return ["ip", "netns", "exec", INSIDE, compiled("knock"), FAR4, "80", str(seconds), "10000"]


def _counts(output: str) -> dict[str, int]:
    return {line.split()[0]: int(line.split()[1]) for line in output.splitlines()}


def test_outside_every_knock_arrives(far_side: FarSide) -> None:
    far_side.mark()
    far_side.received(80)
    # Not for long: the listener's queue is 512, and nobody accepts meanwhile.
    done = subprocess.run(_knock(0.05), capture_output=True, text=True, check=True, timeout=60)
    assert set(_counts(done.stdout)) == {"connected"}
    assert len(far_side.received(80)) == _counts(done.stdout)["connected"]
    assert far_side.seen()


@pytest.mark.parametrize("disturb", [_kill, _stop_and_go, _down_and_up, _load_twice])
def test_not_one_attempt_gets_through(
    lictor: Lictor, far_side: FarSide, confine: Confine, disturb: Callable[[Lictor], None]
) -> None:
    workload = confine("egress: none")
    far_side.mark()
    procs = Path("/sys/fs/cgroup" + workload.path) / "cgroup.procs"
    knocker = subprocess.Popen(
        ["bash", "-c", f'echo $$ > {procs}; exec "$@"', "bash", *_knock(3600)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: workload.events(decision="denied"), "the first denial")
    disturb(lictor)
    before = _stats(workload).sequence
    wait_until(lambda: _stats(workload).sequence > before, "attempts afterwards")
    knocker.kill()
    knocker.wait()
    assert knocker.stdout is not None
    knocker.stdout.close()
    assert far_side.seen() == []
    assert pins.sets() == [pins.owner(maps.Maps.open())]
    _accounted(workload)


def _stats(workload: Workload) -> abi.Workload:
    opened = maps.Maps.open()
    try:
        counts = opened.workloads.get(workload.id)
    finally:
        opened.close()
    assert counts is not None
    return counts


def _accounted(workload: Workload) -> None:
    """attempts = delivered + suppressed + lost, and each delivered one gets recorded."""
    counts = _stats(workload)
    lost = counts.suppressed + counts.lost_denials + counts.lost_activity
    assert counts.sequence == counts.delivered + lost

    numbers: Counter[int] = Counter()

    def recorded() -> bool:
        workload.lictor.request("drain")
        numbers.clear()
        numbers.update(
            e["sequence"] for e in read_events(paths.SPOOL) if e["workload"] == workload.path
        )
        return bool(len(numbers) == counts.delivered)

    # Under emulation the agent may need longer for what is in the rings than one request takes.
    wait_until(recorded, f"the record; {agent_log()}", seconds=300)
    assert set(numbers) <= set(range(1, counts.sequence + 1))
    # A batch may be told twice by an agent that was killed between spool and ring.
    assert sum(numbers.values()) - len(numbers) <= BATCH_BYTES // 128


@pytest.mark.parametrize("disturb", [_kill, _load_twice])
def test_an_exemption_outlives_what_comes_and_goes(
    lictor: Lictor, confine: Confine, far_side: FarSide, disturb: Callable[[Lictor], None]
) -> None:
    workload = confine("egress: none")
    lictor.request("exempt", workload=workload.path, seconds=3600, reason="a test")
    # Empty, it would be swept as a run that has ended.
    with subprocess.Popen(["sleep", "infinity"]) as stays:
        try:
            (cgroups.folder(workload.path) / "cgroup.procs").write_text(str(stays.pid))
            disturb(lictor)
            _exemption_holds_until_its_end(lictor, workload, far_side)
        finally:
            stays.kill()


def _exemption_holds_until_its_end(lictor: Lictor, workload: Workload, far_side: FarSide) -> None:
    far_side.mark()
    assert workload.run(_one_attempt, FAR4, namespace=INSIDE).errno is None
    assert len(far_side.seen()) == 1
    [row] = lictor.request("exempt.list")["exemptions"]
    assert (row["workload"], row["reason"]) == (workload.path, "a test")
    lictor.request("exempt.end", workload=workload.path)
    assert workload.run(_one_attempt, FAR4, namespace=INSIDE).errno == errno.EPERM
    assert far_side.seen() == []


def test_the_sequence_goes_on_after_a_restart(lictor: Lictor, confine: Confine) -> None:
    workload = confine("egress: none")
    workload.run(_one_attempt)
    os.kill(_agent_pid(), signal.SIGKILL)
    # While no agent runs, attempts are denied and kept in the ring.
    assert workload.run(_one_attempt).errno == 1
    lictor.up()
    workload.run(_one_attempt)
    events = [e for e in workload.events() if e["kind"] == "connect"]
    assert len(events) == 3
    numbers = [e["sequence"] for e in workload.events()]
    assert numbers == list(range(1, len(numbers) + 1))


def _one_attempt(address: str = "10.99.0.1") -> None:
    import socket

    with socket.socket() as client:
        client.connect((address, 80))


def test_the_agent_holds_no_compiler(lictor: Lictor) -> None:
    del lictor
    mapped = Path(f"/proc/{_agent_pid()}/maps").read_text()
    assert "libbpf.so" in mapped
    for name in ("libbcc", "libLLVM", "libclang"):
        assert name not in mapped


def test_a_flood_is_counted_exactly_and_hides_nobody_elses_denial(
    lictor: Lictor, confine: Confine
) -> None:
    flooding = confine("egress: none")
    quiet = confine("egress: none")
    pid = _agent_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        attempts = 3 * abi.DENIAL_QUOTA // 128
        flooding.run(_flood, attempts)
        for _ in range(5):
            assert quiet.run(_one_attempt).errno == 1
    finally:
        os.kill(pid, signal.SIGCONT)
    assert len([e for e in quiet.events() if e["decision"] == "denied"]) == 5
    counts = _stats(flooding)
    assert counts.suppressed > 0
    assert counts.sequence == attempts
    assert counts.sequence == (
        counts.delivered + counts.suppressed + counts.lost_denials + counts.lost_activity
    )
    assert len(flooding.events()) == counts.delivered
    # Once the agent has read on, the quota is free again.
    flooding.run(_flood, 3)
    assert _stats(flooding).suppressed == counts.suppressed


def _flood(attempts: int) -> None:
    import contextlib
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for _ in range(attempts):
            with contextlib.suppress(PermissionError):
                client.sendto(b"word", ("10.99.0.1", 9))
