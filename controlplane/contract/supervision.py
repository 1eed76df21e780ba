# SPDX-License-Identifier: Apache-2.0
"""What every daemon of Lictor does for whoever starts it: run alone, say ready, alive, stopping.

See sd_notify(3). Where nobody waits for it, nobody is told and nothing fails.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import socket
from pathlib import Path

from controlplane.contract import resident

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"

COLLECT_AFTER = 20_000
"""New objects between two searches for cycles; a batch of events has so many, without a cycle."""


def run_alone(pid_file: Path) -> None:
    """Hold a lock on `pid_file` until this process ends, and write its pid there.

    So a pid read there while the lock is held is a daemon's own. BlockingIOError: another has it.
    """
    lock = os.open(pid_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())


def settle() -> None:
    """For a daemon that is set up: what it holds by now is not searched for garbage any more.

    Python's collector would go through modules and models time and again, as often as events come.
    What only the start needed is given back.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    resident.give_back()


def notify(state: str) -> None:
    """Send a state to the service manager, if there is one that waits for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        # Nothing of ours depends on being heard.
        manager.setblocking(False)
        try:
            manager.sendto(state.encode(), address)
        except OSError:
            return


def tell(text: str) -> None:
    """What `systemctl status` shows of this daemon."""
    notify(f"STATUS={' '.join(text.split())}")


def alive_interval() -> float | None:
    """Seconds between two signs of life: half of what the unit allows; None if none is wanted."""
    text = os.environ.get("WATCHDOG_USEC", "")
    for_whom = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not text.isdigit() or int(text) == 0 or for_whom != str(os.getpid()):
        return None
    return int(text) / 2e6


async def say_alive() -> None:
    """Tell the service manager, as long as this event loop turns; returns if none is wanted."""
    interval = alive_interval()
    while interval is not None:
        notify(ALIVE)
        await asyncio.sleep(interval)
