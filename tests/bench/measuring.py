# SPDX-License-Identifier: Apache-2.0
"""What is read of a process and what is made of many samples, here and in the VM."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from pathlib import Path

MEMORY_FIELDS = ("VmRSS", "RssAnon", "RssFile", "RssShmem")
# The low bits of a clock's number, as in the kernel's include/linux/posix-timers_types.h.
CPUCLOCK_SCHED = 2
RAN = 7


def cpu_nanoseconds(pid: int) -> int:
    """CPU time of a process and all of its threads, also those that have ended."""
    return time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED)


def memory(pid: int) -> dict[str, int]:
    """A process's resident memory in KiB, by kind."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {
        name: int(re.search(rf"^{name}:\s*(\d+) kB$", text, re.MULTILINE)[1])  # type: ignore[index]
        for name in MEMORY_FIELDS
    }


def busy_nanoseconds(schedstat: str) -> int:
    """How long all processors together ran any task; `schedstat` is /proc/schedstat."""
    rows = (line.split() for line in schedstat.splitlines())
    return sum(int(row[RAN]) for row in rows if re.fullmatch(r"cpu\d+", row[0]))


def percentile(samples: Sequence[int], percent: float) -> int:
    """The least sample that so many of a hundred do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
