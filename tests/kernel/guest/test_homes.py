# SPDX-License-Identifier: Apache-2.0
"""A workload's home is where its first program started, whatever it makes for itself later."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enforcer import abi, cgroups, libbpf
from enforcer.maps import Table, pin_path
from tests.kernel.guest.attempts import programs
from tests.kernel.guest.child import Outcome
from tests.kernel.guest.programs import compiled
from tests.kernel.guest.world import AppliedPolicy, Workload

CLONE_NEWNS = 0x20000
FREE = "exec: any"
OLDER = "/guest-older"


def home_of(workload: int) -> abi.Home | None:
    descriptor = libbpf.open_pin(str(pin_path("homes")))
    try:
        table: Table[abi.Home] = Table("homes", descriptor)
        return table.get(workload)
    finally:
        os.close(descriptor)


def namespace(kind: str, pid: int | str = "self") -> int:
    return Path(f"/proc/{pid}/ns/{kind}").stat().st_ino


def start_elsewhere(program: str) -> list[object]:
    """Start it in a mount namespace of its own; returns that one's number, too."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    return [namespace("mnt"), programs.start(program)]


def test_the_first_program_decides(confine: Callable[..., Workload]) -> None:
    workload = confine(FREE)
    witness = compiled("witness")
    assert workload.run(os.getpid).errno is None
    assert home_of(workload.id) is None
    assert workload.run(programs.start, witness) == Outcome("started")
    home = home_of(workload.id)
    assert home is not None
    assert home.mount_namespace == namespace("mnt")
    assert (home.user_namespace, home.network_namespace) == (namespace("user"), namespace("net"))
    assert home.sealed > 0
    other, started = workload.run(start_elsewhere, witness).value
    assert other != home.mount_namespace
    assert started == "started"
    assert bytes(home_of(workload.id) or b"") == bytes(home)
    workload.finish()
    assert home_of(workload.id) is None


def test_a_program_that_may_not_start_makes_no_home(confine: Callable[..., Workload]) -> None:
    workload = confine("exec: none")
    assert workload.run(programs.start, compiled("witness")).errno is not None
    assert home_of(workload.id) is None


@pytest.fixture
def older() -> Iterator[int]:
    """A process in a mount namespace of its own, in a cgroup that no policy covers yet."""
    folder = cgroups.folder(OLDER)
    folder.mkdir()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        (folder / "cgroup.procs").write_text("0")
        ctypes.CDLL(None).unshare(CLONE_NEWNS)
        os.write(writing, b"x")
        signal.pause()
    os.read(reading, 1)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    folder.rmdir()


def test_of_a_workload_older_than_its_policy_it_is_where_the_oldest_task_is(
    older: int, policy: Callable[..., AppliedPolicy]
) -> None:
    policy(f"select: [{{cgroup: {OLDER}}}]")
    home = home_of(cgroups.cgroup_id(OLDER))
    assert home is not None
    assert home.mount_namespace == namespace("mnt", older)
