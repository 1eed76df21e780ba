# SPDX-License-Identifier: Apache-2.0
"""The cgroup v2 tree: ids, paths, walks. An id is the folder's inode number, as in the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")

MONITORS = ("libpod-conmon-", "crio-conmon-")
"""How the scopes begin in which podman and CRI-O keep a container's monitor, beside its own."""


def cgroup_id(path: str) -> int:
    """Id of the cgroup `path` (from the tree's root, `/a/b`); FileNotFoundError without one."""
    return folder(path).stat().st_ino


def folder(path: str) -> Path:
    """The folder of the cgroup `path`."""
    return ROOT / path.lstrip("/")


def exists(path: str) -> bool:
    """Whether there is a cgroup `path`."""
    return folder(path).is_dir()


def is_monitor(path: str) -> bool:
    """Whether the cgroup `path` is called like a monitor's."""
    return path.rpartition("/")[2].startswith(MONITORS)


def walk(path: str) -> Iterator[tuple[str, int]]:
    """(path, id) of `path` and all below, parents first; one that vanishes is left out.

    A caller that records each pair before it takes the next misses no cgroup made meanwhile:
    a child made before its parent was recorded is listed, one made after inherits in the kernel.
    """
    try:
        yield path, cgroup_id(path)
        with os.scandir(folder(path)) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return
    for name in names:
        yield from walk(f"{path.rstrip('/')}/{name}")


def children(path: str) -> list[tuple[str, int]]:
    """(path, id) of the direct children of `path`; empty if it does not exist."""
    try:
        with os.scandir(folder(path)) as entries:
            return [
                (f"{path.rstrip('/')}/{entry.name}", entry.inode())
                for entry in sorted(entries, key=lambda entry: entry.name)
                if entry.is_dir(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return []


def find(wanted: int) -> str | None:
    """Path of the cgroup with this id, by a walk over the tree; None if there is none."""
    return next((path for path, found in walk("/") if found == wanted), None)


def enter(path: str) -> None:
    """Move the calling process into the cgroup `path`."""
    (folder(path) / "cgroup.procs").write_text("0")


def of_process(pid: int) -> str:
    """Path of the v2 cgroup that process `pid` is in, as the host sees it."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    raise OSError(f"process {pid}: in no cgroup of the v2 tree")
