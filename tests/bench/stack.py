# SPDX-License-Identifier: Apache-2.0
"""Figures of a whole node, taken in the VM: agent, control plane and uplink.

Instructions are those of each process and of everything that ran meanwhile. Waiting takes none,
be it for a disk, for a timer or for programs to end.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from enforcer import paths
from enforcer.cli import daemons
from tests.bench import puts
from tests.bench.measuring import busy_nanoseconds, cpu_nanoseconds, memory

DAEMONS = (daemons.agent(), daemons.controlplane(), daemons.uplink())
SCHEDSTAT = Path("/proc/schedstat")
MEMORY = Path("/run/bench")


def keep_in_memory(folder: Path) -> None:
    """Put what a folder holds on a tmpfs, in its place.

    While a VM that counts waits for its disk, its clock runs ahead, and requests would time out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy = MEMORY / folder.name
    shutil.copytree(folder, copy)
    subprocess.run(["mount", "--bind", copy, folder], check=True)


def start() -> dict[str, int]:
    """Start all three as `lictor up` does, with nothing to ship; pid by name."""
    shutil.rmtree(paths.SPOOL, ignore_errors=True)
    for folder in (paths.STATE, paths.CONTROLPLANE_STATE):
        keep_in_memory(folder)
    for daemon in DAEMONS:
        daemon.start()
    pids = {daemon.name: daemon.running() for daemon in DAEMONS}
    return {name: pid for name, pid in pids.items() if pid is not None}


def counters(pids: dict[str, int]) -> dict[str, int]:
    """Instructions so far: of each process, of ours, of all that ran."""
    own = {name: cpu_nanoseconds(pid) for name, pid in {**pids, "client": os.getpid()}.items()}
    return {**own, "all": busy_nanoseconds(SCHEDSTAT.read_text())}


def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """Idle memory of each process, and what a PUT costs. None of the three may run."""
    say("starting agent, control plane and uplink")
    pids = start()
    idle = {name: memory(pid) for name, pid in pids.items()}
    say("putting policies")
    address = f"unix:{paths.CONTROLPLANE_SOCKET}"
    found = asyncio.run(puts.series(address, lambda: counters(pids)))
    return {"idle": idle, "puts": found}
