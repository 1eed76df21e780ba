# SPDX-License-Identifier: Apache-2.0
"""Resident memory of a daemon: what its start needed and its work does not, given back."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

MAPS = Path("/proc/self/maps")


def give_back() -> None:
    """Unmap machine code that the start ran, and free the heap's unused pages.

    The kernel reads code again from its file, or finds it in the page cache, when it is needed:
    a few faults, once. Only mappings that cannot have been written are touched (relocated data
    is read-only, too, and private). What the kernel refuses stays as it is.
    """
    libc = ctypes.CDLL(None)
    for line in MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[1] == "r-xp" and fields[5].startswith(os.sep):
            start, end = (int(part, 16) for part in fields[0].split("-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
    libc.malloc_trim(ctypes.c_size_t(0))
