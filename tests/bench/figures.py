# SPDX-License-Identifier: Apache-2.0
"""Figures of loader, programs and agent, taken in the VM.

In a VM that counts instructions, a nanosecond of CPU time is an instruction.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

from enforcer import paths, pins
from enforcer.client import EnforcerClient
from enforcer.programtable import PROGRAMS
from tests.bench import measuring

INSTRUCTION_BYTES = 8


def load() -> dict[str, Any]:
    """Instructions of a first load, from the interpreter's start to `enforcing`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "enforcer.loader"], cwd=paths.INSTALLATION, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    report = json.loads(paths.LOADER_REPORT.read_text())
    return {
        "enforcing": report["enforcing"],
        "instructions": round((user + system) * 1e9),
        "in_kernel": round(system * 1e9),
        "peak_kib": after.ru_maxrss,
    }


def programs() -> list[dict[str, Any]]:
    """Size of each loaded program: instructions after the verifier, bytes of machine code."""
    folder = pins.set_folder(pins.sets()[-1])
    rows = []
    for program in PROGRAMS:
        pin = folder / program.function
        if not pin.exists():
            continue
        named = ["pinned", str(pin)]
        if program.kind not in ("cgroup", "iterator"):
            named = ["id", str(_bpftool("link", "show", *named)["prog_id"])]
        shown = _bpftool("prog", "show", *named)
        rows.append(
            {
                "program": program.function,
                "target": program.target,
                "instructions": shown["bytes_xlated"] // INSTRUCTION_BYTES,
                "machine_code_bytes": shown["bytes_jited"],
            }
        )
    return rows


def _bpftool(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(["bpftool", "--json", *arguments], stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def start_agent() -> None:
    """Start the agent alone: `lictor up` would load again, which takes minutes here."""
    command = [sys.executable, "-m", "enforcer.agent"]
    process = subprocess.Popen(command, cwd=paths.INSTALLATION, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            EnforcerClient(paths.ADMIN_SOCKET).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the agent ended with {process.returncode}")


def _agent() -> int:
    return int(paths.AGENT_PID.read_text())


def agent_memory() -> dict[str, int]:
    """The agent's resident memory in KiB, by kind."""
    return measuring.memory(_agent())


def agent_instructions() -> int:
    """What the agent has run so far."""
    return measuring.cpu_nanoseconds(_agent())


def drain() -> None:
    """Return when the agent has read both rings empty."""
    with EnforcerClient(paths.ADMIN_SOCKET, timeout=600) as client:
        client.request("drain")
