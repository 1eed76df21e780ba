# SPDX-License-Identifier: Apache-2.0
"""Programs that guest tests start: the C attempts, compiled once, and the `lictor` command."""

from __future__ import annotations

import functools
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from enforcer import paths

SOURCES = Path(__file__).parent / "attempts"
BUILT = Path("/usr/local/libexec/lictor-guest")
COMMAND_SECONDS = 300


@functools.cache
def compiled(name: str) -> str:
    """Path of the program made from attempts/<name>.c."""
    BUILT.mkdir(parents=True, exist_ok=True)
    target = BUILT / name
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-o", str(target), str(SOURCES / f"{name}.c")],
        check=True,
    )
    return str(target)


def run_lictor(*words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """`lictor WORDS…`; never raises for its exit status."""
    return subprocess.run(
        ["lictor", *words], capture_output=True, text=True, timeout=COMMAND_SECONDS,
        check=False, input=text,
    )  # fmt: skip


def wait_until(condition: Callable[[], object], what: str, seconds: float = 180) -> None:
    """Poll until `condition` holds; TimeoutError names `what`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)


def agent_log() -> str:
    """The end of what the agent has to say, for a failure's message."""
    return (paths.LOG / "agent.log").read_text()[-3000:]
