# SPDX-License-Identifier: Apache-2.0
"""Ways to open a device node: each raises OSError where it fails."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def open_read(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))


def open_write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY))


def open_own_node(path: str) -> None:
    """A node of any name with the same numbers."""
    number = Path(path).stat().st_rdev
    alias = Path("/tmp/harmless.txt")
    os.mknod(alias, stat.S_IFCHR | 0o600, number)
    try:
        open_read(str(alias))
    finally:
        alias.unlink()


def open_link(path: str) -> None:
    link = Path("/tmp/harmless-link")
    link.symlink_to(path)
    try:
        open_read(str(link))
    finally:
        link.unlink()


def reopen_path_descriptor(path: str) -> None:
    """O_PATH first, which opens nothing, then the descriptor's name below /proc."""
    descriptor = os.open(path, os.O_PATH)
    try:
        open_read(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def use_standard() -> list[int]:
    """Read and write what every program may."""
    with open("/dev/urandom", "rb") as random, open("/dev/null", "wb") as null:
        null.write(random.read(16))
    master, terminal = os.openpty()
    os.write(master, b"word\n")
    assert os.read(terminal, 5) == b"word\n"
    with open("/dev/zero", "rb", buffering=0) as zero:
        return list(zero.read(4) or b"")


def read_start(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return len(os.read(descriptor, 512))
    finally:
        os.close(descriptor)
