# SPDX-License-Identifier: Apache-2.0
"""A first file system of a few modules and one shell: Debian's kernels have ext4 as a module."""

import gzip
from collections.abc import Mapping, Sequence

# vda is the root image, vdb this kernel's modules; the order is that of the
# drives on the emulator's command line.
INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in {modules}; do insmod /modules/$module || echo "initramfs: $module did not load"; done
tries=0
while [ ! -b /dev/vdb ] && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
mount -t ext4 -o noatime /dev/vda /root || exec echo "initramfs: no root file system"
mkdir -p /root/usr/lib/modules/{release}
mount -t ext4 -o ro /dev/vdb /root/usr/lib/modules/{release} || exec echo "initramfs: no modules"
mount -o move /dev /root/dev
umount /proc /sys
exec switch_root /root /sbin/init
"""
_DIRECTORY, _FILE, _DEVICE = 0o040755, 0o100755, 0o020600
_CONSOLE = (5, 1)


def _record(
    inode: int, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
) -> bytes:
    """One member of a cpio archive of the kind that the kernel reads (newc)."""
    encoded = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    return _padded(header) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def cpio(directories: Sequence[str], files: Mapping[str, bytes]) -> bytes:
    """An archive of directories and executable files, with /dev/console."""
    members = [("dev", _DIRECTORY, b"", (0, 0)), ("dev/console", _DEVICE, b"", _CONSOLE)]
    members += [(name, _DIRECTORY, b"", (0, 0)) for name in directories]
    members += [(name, _FILE, data, (0, 0)) for name, data in files.items()]
    body = b"".join(
        _record(number, name, mode, data, device)
        for number, (name, mode, data, device) in enumerate(members, start=1)
    )
    return body + _record(0, "TRAILER!!!", 0)


def build(release: str, busybox: bytes, modules: Mapping[str, bytes]) -> bytes:
    """The packed archive for a kernel; `modules` are loaded in their order."""
    init = INIT.format(release=release, modules=" ".join(modules))
    files = {"init": init.encode(), "bin/busybox": busybox}
    files |= {f"modules/{name}": data for name, data in modules.items()}
    archive = cpio(["bin", "modules", "proc", "root", "sys"], files)
    return gzip.compress(archive, compresslevel=1, mtime=0)
