# SPDX-License-Identifier: Apache-2.0
"""The canary: a process in a cgroup of its own that tries what its policy denies.

Hooks can be loaded and attached and yet deny nothing (the LSM list without `bpf` was such a
case), so nothing but a denial that really happened counts as enforcing.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from enforcer import abi, cgroups, paths, pins
from enforcer.abi import ScopeFlag
from enforcer.canary_state import CanaryReport
from enforcer.compiler import CompiledPolicy
from enforcer.maps import Maps
from enforcer.names import CANARY_SLOT
from enforcer.rulesets import Rulesets
from enforcer.tasks import Tasks

CGROUP = "/lictor-canary"
DEVICE = "/dev/null"
PROGRAM = "/bin/true"

Address = tuple[str, int]


def run_canary(maps: Maps) -> CanaryReport:
    """Cover a cgroup that may do nothing, try from within, and see. Takes some milliseconds.

    OSError or ValueError if it could not be tried. The cgroup stays, empty: each new one would
    take another bit of the filter, for good.
    """
    with exclusively():
        _ensure_policy(maps)
        owner = pins.owner(maps)
        cgroups.folder(CGROUP).mkdir(exist_ok=True)
        cgroup = cgroups.cgroup_id(CGROUP)
        # The scope first: the agent disarms what has none.
        flags = ScopeFlag.ARMED | ScopeFlag.SETTLED
        scope = abi.Scope(workload=cgroup, policy=CANARY_SLOT, flags=flags)
        try:
            Tasks(maps).mark_covered(cgroup)
            maps.scopes.put(cgroup, scope)
            pins.arm(owner, CGROUP)
            return CanaryReport(_attempts(CGROUP))
        finally:
            maps.scopes.delete(cgroup)
            pins.disarm(owner, cgroup)


@contextmanager
def exclusively() -> Iterator[None]:
    """One canary at a time, and none while whoever holds this takes a program set away."""
    paths.RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    with open(paths.RUN / "canary.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_cgroup() -> None:
    """Leave nothing of the canaries behind; one that runs now is not disturbed."""
    try:
        cgroups.folder(CGROUP).rmdir()
    except OSError:
        return


def _ensure_policy(maps: Maps) -> None:
    current = maps.policies.get(CANARY_SLOT)
    if current is not None and current.ruleset:
        return
    rulesets = Rulesets(maps)
    head = abi.Ruleset(policy=CANARY_SLOT, revision=1, mode=abi.Mode.ENFORCE)
    rulesets.install(CANARY_SLOT, rulesets.free_number(), CompiledPolicy(head))


def _attempts(path: str) -> dict[str, str]:
    """Try everything in a child, twice: outside the cgroup, where it must work, and in it."""
    stream = socket.create_server(("127.0.0.1", 0))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    reading, writing = os.pipe()
    with stream, datagrams:
        child = os.fork()
        if child == 0:
            os.close(reading)
            _child(path, writing, stream.getsockname(), datagrams.getsockname())
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            lines = pipe.read().splitlines()
        _, status = os.waitpid(child, 0)
        results = {k: v for line in lines for k, v in json.loads(line).items()}
        results.setdefault("exec", "started" if status == 0 else f"ended with {status}")
        stream.setblocking(False)
        datagrams.setblocking(False)
        if _arrived(lambda: stream.accept()[0].close()) > 1:
            results["connect"] = "connected"
        if _arrived(lambda: datagrams.recv(16)) > 1:
            results["send"] = "sent"
    return results


def _arrived(take: Callable[[], object]) -> int:
    """How often `take` succeeds before it would block."""
    count = 0
    while count < 8:
        try:
            take()
        except BlockingIOError:
            break
        count += 1
    return count


def _child(path: str, pipe: int, stream: Address, datagrams: Address) -> None:
    """Never returns. Reports one JSON line; exec has no line if it succeeded."""
    try:
        before = _try_all(stream, datagrams)
        if set(before.values()) != {"done"}:
            _tell(pipe, {name: f"fails outside too: {text}" for name, text in before.items()})
            os._exit(1)
        with open(cgroups.folder(path) / "cgroup.procs", "w") as file:
            file.write("0")
        _tell(pipe, _try_all(stream, datagrams))
        try:
            os.execv(PROGRAM, [PROGRAM])
        except OSError as error:
            _tell(pipe, {"exec": _outcome(error)})
        os._exit(1)
    finally:
        os._exit(2)


def _tell(pipe: int, results: dict[str, str]) -> None:
    os.write(pipe, json.dumps(results).encode() + b"\n")


def _outcome(error: OSError) -> str:
    return "denied" if error.errno == errno.EPERM else f"failed: {error}"


def _try_all(stream: Address, datagrams: Address) -> dict[str, str]:
    return {
        "connect": _try(lambda: _connect(stream)),
        "send": _try(lambda: _send(datagrams)),
        "device": _try(lambda: os.close(os.open(DEVICE, os.O_RDONLY))),
    }


def _try(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return _outcome(error)
    return "done"


def _connect(address: Address) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(address)


def _send(address: Address) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"canary", address)
