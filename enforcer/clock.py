# SPDX-License-Identifier: Apache-2.0
"""The wall clock as the kernel programs know it: through atomic time, which their helpers tell."""

from __future__ import annotations

import time

SECOND = 1_000_000_000


def tai_offset() -> int:
    """Nanoseconds from the wall clock to atomic time, whole seconds; 0 until somebody sets it."""
    difference = time.clock_gettime_ns(time.CLOCK_TAI) - time.clock_gettime_ns(time.CLOCK_REALTIME)
    return round(difference / SECOND) * SECOND
