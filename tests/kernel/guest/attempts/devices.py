# SPDX-License-Identifier: Apache-2.0
"""Ways to open a device node: each raises OSError where it fails."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

AT_FDCWD = -100
CLONE_NEWNS = 0x20000
MS_BIND = 0x1000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
SYS_OPENAT2 = 437
HANDLE_BYTES = 128

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


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


def open_extensible(path: str) -> None:
    """openat2(2)."""
    how = struct.pack("=QQQ", os.O_RDONLY | os.O_NONBLOCK, 0, 0)
    os.close(_checked(_libc.syscall(SYS_OPENAT2, AT_FDCWD, path.encode(), how, len(how))))


def open_handle(path: str) -> None:
    """open_by_handle_at(2): no name at all, as root may."""
    handle = ctypes.create_string_buffer(struct.pack("=Ii", HANDLE_BYTES, 0), 8 + HANDLE_BYTES)
    mount = ctypes.c_int()
    found = _libc.name_to_handle_at(AT_FDCWD, path.encode(), handle, ctypes.byref(mount), 0)
    _checked(found)
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK
        os.close(_checked(_libc.open_by_handle_at(folder, handle, flags)))
    finally:
        os.close(folder)


def open_of_other_process(path: str) -> None:
    """By the root folder of a process outside, below /proc."""
    open_read(f"/proc/1/root{path}")


def _mount(source: str, target: Path, kind: str, flags: int = 0, data: str = "") -> None:
    target.mkdir(exist_ok=True)
    arguments = (source.encode(), bytes(target), kind.encode(), flags, data.encode())
    _checked(_libc.mount(*arguments))


def _with_mounts(open_: Callable[[Path], None]) -> None:
    """In a mount namespace of our own, in a folder on a new file system."""
    _checked(_libc.unshare(CLONE_NEWNS))
    _mount("none", Path("/"), "", MS_REC | MS_PRIVATE)
    folder = Path("/mnt")
    _mount("attempt", folder, "tmpfs")
    open_(folder)


def _node_of(path: str, place: Path) -> None:
    os.mknod(place, stat.S_IFCHR | 0o600, Path(path).stat().st_rdev)


def open_bind_mount(path: str) -> None:
    """The node over a harmless file."""

    def open_(folder: Path) -> None:
        target = folder / "harmless.txt"
        target.touch()
        _checked(_libc.mount(path.encode(), bytes(target), b"", MS_BIND, b""))
        open_read(str(target))

    _with_mounts(open_)


def open_own_file_system(path: str) -> None:
    def open_(folder: Path) -> None:
        _node_of(path, folder / "node")
        open_read(str(folder / "node"))

    _with_mounts(open_)


def open_device_file_system(path: str) -> None:
    """The kernel's own file system of nodes, mounted again."""

    def open_(folder: Path) -> None:
        _mount("attempt", folder / "dev", "devtmpfs")
        open_read(str(folder / "dev" / Path(path).name))

    _with_mounts(open_)


def open_overlay(path: str) -> None:
    """A node of a layer below, seen through an overlay."""

    def open_(folder: Path) -> None:
        for name in ("lower", "upper", "work"):
            (folder / name).mkdir()
        _node_of(path, folder / "lower/node")
        layers = ",".join(f"{name}dir={folder}/{name}" for name in ("lower", "upper", "work"))
        _mount("attempt", folder / "merged", "overlay", 0, layers)
        open_read(str(folder / "merged/node"))

    _with_mounts(open_)


def open_below_root(path: str) -> None:
    """chroot(2) first."""

    def open_(folder: Path) -> None:
        _node_of(path, folder / "node")
        os.chroot(folder)
        open_read("/node")

    _with_mounts(open_)


def make_node(path: str) -> None:
    """Only mknod(2): a name, and nothing is opened."""
    _with_mounts(lambda folder: _node_of(path, folder / "node"))


def open_nodes() -> dict[str, int]:
    """Try each device node of the machine: path -> 0, or the errno that it met."""
    found = {}
    for folder, _, names in os.walk("/dev"):
        for path in (f"{folder}/{name}" for name in names):
            if stat.S_IFMT(os.lstat(path).st_mode) not in (stat.S_IFCHR, stat.S_IFBLK):
                continue
            try:
                open_read(path)
                found[path] = 0
            except OSError as error:
                found[path] = error.errno or -1
    return found


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
