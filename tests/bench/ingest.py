# SPDX-License-Identifier: Apache-2.0
"""What taking events costs the control plane, and what it holds after: on this machine, no VM.

A server process is sent batches by the client that the uplink uses. Of the events half are execs,
the others connects; a tenth is denied; they come from some workloads, and a call lasts for some
batches.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from controlplane.client import ApiClient
from enforcer.uplink_shipping import LARGEST_BATCH
from tests.api.process import Process
from tests.bench.measuring import cpu_nanoseconds, memory
from tests.unit.controlplane.samples import (
    BOOT,
    NODE,
    call_tag,
    make_denied,
    make_event,
    make_exec,
)

EVENTS = 50_000
# In whole batches.
WARM_UP = 5 * LARGEST_BATCH
WORKLOADS = 4
CALL_BATCHES = 10


def batches(events: int) -> Iterator[list[dict[str, Any]]]:
    """So many events, in the order in which a node's spool has them."""
    for first in range(0, events, LARGEST_BATCH):
        count = min(LARGEST_BATCH, events - first)
        yield [_event(number) for number in range(first, first + count)]


def _event(number: int) -> dict[str, Any]:
    workload, sequence = number % WORKLOADS, number // WORKLOADS + 1
    call = workload + WORKLOADS * (number // (CALL_BATCHES * LARGEST_BATCH))
    common = {
        "workload_id": 1000 + workload,
        "workload": f"/lictor.slice/run-{workload}",
        "call": call_tag(1 + call),
    }
    if number % 10 == 0:
        address = f"198.51.100.{sequence % 200}"
        what = {"family": "ipv4", "protocol": "tcp", "address": address, "port": 443}
        return make_denied(sequence, object=what, **common)
    if number % 2:
        return make_exec(sequence, f"/usr/bin/tool-{number % 50}", **common)
    return make_event(sequence, **common)


async def _send(pid: int, address: str) -> dict[str, Any]:
    idle = memory(pid)
    async with ApiClient(address) as client:
        used, sent = 0, 0
        for batch in batches(WARM_UP + EVENTS):
            before = cpu_nanoseconds(pid)
            result = await client.ingest(NODE, BOOT, events=batch)
            if result.accepted != len(batch):
                raise RuntimeError(f"control plane: took {result.accepted} of {len(batch)} events")
            sent += len(batch)
            if sent > WARM_UP:
                used += cpu_nanoseconds(pid) - before
    return {
        "events": EVENTS,
        "events_per_cpu_second": round(EVENTS / (used / 1e9)),
        "memory": {"start": idle, "after_events": memory(pid)},
    }


def measure() -> dict[str, Any]:
    """Events for each second of the server's CPU time, all of its threads; its memory in KiB."""
    with tempfile.TemporaryDirectory() as folder:
        server = Process(Path(folder))
        try:
            server.start()
            found = asyncio.run(_send(server.pid, f"unix:{server.socket}"))
            server.end(signal.SIGTERM)
        finally:
            server.close()
    return found
