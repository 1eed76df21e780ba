# SPDX-License-Identifier: Apache-2.0
"""Figures of a made-up boot, in the shape that tests/bench/guest.py writes."""

from __future__ import annotations

import copy
from typing import Any

from tests.bench.puts import costs
from tests.bench.table import ATTEMPTS

MEMORY = {"VmRSS": 40_000, "RssAnon": 30_000, "RssFile": 9_000, "RssShmem": 1_000}
KINDS = sorted({name for attempt in ATTEMPTS for name in (attempt.allowed, attempt.denied) if name})


def row(median: int, errno: int = 0) -> dict[str, int]:
    """One kind's line."""
    return {"errno": errno, "samples": 101, "lowest": median, "median": median, "p90": median,
            "again": median}  # fmt: skip


def boot(**more: dict[str, int]) -> dict[str, Any]:
    """1,000 instructions for everything, and `more[place][kind]` on top with Lictor."""
    same = {kind: row(1000) for kind in KINDS}
    counts = {
        state: {place: copy.deepcopy(same) for place in ("outside", "inside")}
        for state in ("none", "floor", "lictor", "unloaded")
    }
    for place, kinds in more.items():
        for kind, extra in kinds.items():
            counts["lictor"][place][kind] = row(1000 + extra)
    return {
        "kernel": "6.1.192",
        "attachment": "lsm",
        "counts": counts,
        "others": dict.fromkeys(("apparmor", "systemd", "systemd_plain"), same),
        "loader": {"enforcing": True, "instructions": 5_000_000_000, "in_kernel": 1_000_000_000,
                   "peak_kib": 120_000},
        "programs": [{"program": "task_task_alloc", "target": "task_alloc", "instructions": 700,
                      "machine_code_bytes": 4000}],
        "agent": {"events": 50_000, "start": MEMORY, "after_events": MEMORY,
                  "instructions_per_event": 90_000},
        "stack": {"idle": dict.fromkeys(("agent", "controlplane", "uplink"), MEMORY),
                  "puts": [costs(1, [put(60_000_000)]), costs(50, [put(90_000_000)] * 3)]},
    }  # fmt: skip


def put(instructions: int) -> dict[str, int]:
    """What one PUT took: a fifth of it in each process, a fifth elsewhere."""
    part = instructions // 5
    return {"agent": part, "controlplane": part, "uplink": part, "client": part,
            "all": instructions}  # fmt: skip


def native() -> dict[str, Any]:
    """Figures of a made-up run without a VM, in the shape that tests/bench/native.py gives."""
    return {
        "ingest": {"events": 50_000, "events_per_cpu_second": 20_000,
                   "memory": {"start": MEMORY, "after_events": MEMORY}},
        "puts": [costs(1, [{"all": 25_000_000}]), costs(50, [{"all": 31_250_000}])],
    }  # fmt: skip
