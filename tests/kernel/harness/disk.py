# SPDX-License-Identifier: Apache-2.0
"""Disk images for the VM: ext4 from a folder, and a raw disk that holds a tar archive."""

import os
from pathlib import Path

from tests.kernel.harness.progress import run

_BLOCK = 4096


def used_bytes(folder: Path) -> int:
    """What a tree takes on a file system with 4 KiB blocks, roughly."""
    total = 0
    for parent, directories, files in os.walk(folder):
        total += _BLOCK * (1 + len(directories))
        for name in files:
            total += _BLOCK * (1 + (Path(parent) / name).lstat().st_size // _BLOCK)
    return total


def make_ext4(image: Path, folder: Path, spare_mib: int) -> None:
    """An ext4 image of a folder, with about `spare_mib` MiB left free.

    Without a journal and checksums: each boot works on a throw-away copy.
    """
    mebibytes = (used_bytes(folder) * 11 // 10 >> 20) + spare_mib
    options = "^has_journal,^metadata_csum,^resize_inode"
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-O", options, "-m", "0", "-d", folder, image]
    run(f"file system {image.name}", [*command, f"{mebibytes}m"])
