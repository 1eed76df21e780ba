# SPDX-License-Identifier: Apache-2.0
"""The canary: a process in a cgroup of its own that tries what its policy denies.

Hooks can be loaded and attached and yet deny nothing (the LSM list without `bpf` was such a
case), so nothing but a denial that really happened counts as enforcing.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from enforcer import abi, cgroups, pins
from enforcer.abi import ScopeFlag
from enforcer.compiler import CompiledPolicy
from enforcer.maps import Maps
from enforcer.names import CANARY_SLOT
from enforcer.rulesets import Rulesets
from enforcer.tasks import Tasks

ATTEMPTS = ("connect", "send", "device", "exec")
DEVICE = "/dev/null"
PROGRAM = "/bin/true"

Address = tuple[str, int]


@dataclass(frozen=True)
class CanaryReport:
    """What each attempt met: `denied`, or what happened instead."""

    results: dict[str, str]

    @property
    def enforcing(self) -> bool:
        """Whether every attempt was really denied."""
        return all(self.results.get(attempt) == "denied" for attempt in ATTEMPTS)


def run_canary(maps: Maps) -> CanaryReport:
    """Make a cgroup that may do nothing, try from within, and see. Takes some milliseconds."""
    _ensure_policy(maps)
    path = next(p for n in itertools.count() if not cgroups.exists(p := f"/lictor-canary-{n}"))
    cgroups.folder(path).mkdir()
    cgroup = cgroups.cgroup_id(path)
    try:
        pins.arm(pins.owner(maps), path)
        Tasks(maps).mark_covered(cgroup)
        scope = abi.Scope(workload=cgroup, policy=CANARY_SLOT, flags=ScopeFlag.ARMED)
        maps.scopes.put(cgroup, scope)
        return CanaryReport(_attempts(path))
    finally:
        pins.disarm(pins.owner(maps), cgroup)
        cgroups.folder(path).rmdir()
        maps.scopes.delete(cgroup)
        maps.workloads.delete(cgroup)


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
