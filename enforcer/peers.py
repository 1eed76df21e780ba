# SPDX-License-Identifier: Apache-2.0
"""Who speaks on a socket, and which host thread the numbers in its messages mean.

A sender inside a container names threads as its own pid namespace counts them; the kernel
tells us the sender itself, so everything is translated from there and never believed.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Peer:
    """The process that connected, as the kernel recorded it at connect(2)."""

    pid: int
    uid: int


def peer_of(connection: socket.socket) -> Peer:
    """Credentials of the other end of a Unix socket."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", data)
    return Peer(pid, uid)


def host_thread(peer: Peer, number: int) -> int | None:
    """Host id of the peer's own thread `number`; None if the peer has no such thread."""
    return next((tid for tid in threads_of(peer.pid) if _number_inside(tid) == number), None)


def host_process(peer: Peer, number: int) -> int | None:
    """Host id of process `number` of the peer's pid namespace; None if there is none."""
    namespace = _pid_namespace(peer.pid)
    if namespace is None:
        return None
    if namespace == _pid_namespace(os.getpid()):
        return number if Path(f"/proc/{number}").is_dir() else None
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        if _pid_namespace(pid) == namespace and _number_inside(pid) == number:
            return pid
    return None


def start_time(pid: int) -> str | None:
    """When process `pid` started, in clock ticks since boot; None if it is gone.

    With the pid it names a process for good: pids are used again. Source: proc(5), stat.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()[19]


def threads_of(pid: int) -> list[int]:
    """Host ids of the threads of process `pid`; empty if it is gone."""
    try:
        return sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return []


def _number_inside(tid: int) -> int | None:
    """The thread's id in its own (innermost) pid namespace."""
    try:
        status = Path(f"/proc/{tid}/status").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return None


def _pid_namespace(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return None
