# SPDX-License-Identifier: Apache-2.0
"""Figures of the control plane on this machine, no VM: they depend on it and on what else it does.

A PUT here is taken by a real uplink, and by an agent that does nothing but keep it: what the real
one and the kernel take is left out.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.api.site import Site
from tests.bench import ingest, puts


def measure(say: Callable[[str], None]) -> dict[str, Any]:
    """`ingest`: see there; `puts`: in nanoseconds of time. RuntimeError if something went wrong."""
    say(f"sending {ingest.EVENTS} events to a control plane on this machine")
    taken = ingest.measure()
    say("putting policies on this machine")
    return {"ingest": taken, "puts": put_times()}


def put_times() -> list[dict[str, Any]]:
    """How long a PUT takes without agent and kernel."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        try:
            site.start("controlplane", "enforcer.uplink")
            counters: puts.Counters = lambda: {"all": time.perf_counter_ns()}  # noqa: E731
            return asyncio.run(puts.series(site.address, counters))
        finally:
            site.close()
