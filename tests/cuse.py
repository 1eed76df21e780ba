# SPDX-License-Identifier: Apache-2.0
"""Device nodes that really open, at numbers of our choice: served through /dev/cuse.

A bare node without a driver fails with ENXIO whoever opens it, so a denial tested on it would
prove nothing. These open for everyone whom the kernel lets through, whatever the node is called,
and each open is told. The name given is also the driver's in /proc/devices. Message layouts are
those of include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import errno
import os
import select
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

CUSE_INIT = 4096
FUSE_OPEN, FUSE_READ, FUSE_RELEASE, FUSE_FLUSH, FUSE_INTERRUPT = 14, 15, 18, 25, 36
REQUEST = struct.Struct("<IIQQIIII")  # struct fuse_in_header
REPLY = struct.Struct("<IiQ")  # struct fuse_out_header
INIT_IN = struct.Struct("<IIII")  # struct cuse_init_in
INIT_OUT = struct.Struct("<8I40x")  # struct cuse_init_out
OPEN_OUT = struct.Struct("<QII")  # struct fuse_open_out
READ_IN = struct.Struct("<QQI")  # the beginning of struct fuse_read_in
REQUEST_BYTES = 1 << 17
CONTENT = b"data"
CLASS = Path("/sys/class/cuse")


def answer(request: bytes, name: str, major: int, minor: int) -> tuple[bytes | None, int | None]:
    """Answer one request: (reply or None where none is due, pid of an open or None)."""
    _length, opcode, unique, _node, _uid, _gid, pid, _pad = REQUEST.unpack_from(request)
    error, body, opener = 0, b"", None
    if opcode == FUSE_INTERRUPT:
        return None, None
    if opcode == CUSE_INIT:
        version = INIT_IN.unpack_from(request, REQUEST.size)[:2]
        body = INIT_OUT.pack(*version, 0, 0, 65536, 65536, major, minor)
        body += f"DEVNAME={name}\0".encode()
    elif opcode == FUSE_OPEN:
        body, opener = OPEN_OUT.pack(1, 0, 0), pid
    elif opcode == FUSE_READ:
        # The kernel refuses more than it asked for, and the reader would wait for ever.
        _handle, _offset, size = READ_IN.unpack_from(request, REQUEST.size)
        body = CONTENT[:size]
    elif opcode not in (FUSE_RELEASE, FUSE_FLUSH):
        error = -errno.ENOSYS
    return REPLY.pack(REPLY.size + len(body), error, unique) + body, opener


class DeviceNode:
    """A character device at `major` and `minor` (major 0: one of the kernel's choice).

    Serves /dev/`name` from construction to `close`. `opened` is called with the pid of each
    process that opened it, under whatever name. TimeoutError if the kernel does not make it in
    `seconds`, as when the numbers are taken.
    """

    def __init__(
        self, name: str, major: int, minor: int, opened: Callable[[int], object],
        seconds: float = 60.0,
    ) -> None:  # fmt: skip
        self.name, self.major, self.minor = name, major, minor
        self._opened, self._seconds = opened, seconds
        subprocess.run(["modprobe", "cuse"], check=False, capture_output=True)
        try:
            self._channel = os.open("/dev/cuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise RuntimeError(f"/dev/cuse: {error.strerror}: cannot serve {name}") from error
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, name=f"cuse {name}", daemon=True)
        self._thread.start()
        # The node below /dev appears a moment after the one in /sys.
        self._wait(lambda: (CLASS / name / "dev").exists() and Path(self.path).exists(), "made")
        self.major = int((CLASS / name / "dev").read_text().partition(":")[0])

    @property
    def path(self) -> str:
        return f"/dev/{self.name}"

    def close(self) -> None:
        """Take the device away: its name and its numbers are free afterwards."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._channel)
        os.close(self._stop)
        self._wait(lambda: not Path(self.path).exists(), "removed")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + self._seconds
        while not condition():
            if time.monotonic() > end:
                place = f"{self.path} at {self.major}:{self.minor}"
                raise TimeoutError(f"{place} was not {what} in {self._seconds:.0f} s")
            time.sleep(0.02)

    def _serve(self) -> None:
        while True:
            ready = select.select([self._channel, self._stop], [], [])[0]
            if self._stop in ready:
                return
            try:
                request = os.read(self._channel, REQUEST_BYTES)
                reply, opener = answer(request, self.name, self.major, self.minor)
                if opener is not None:
                    self._opened(opener)
                if reply is not None:
                    os.write(self._channel, reply)
            except OSError as error:
                # A request that was taken back: before it was read, or before its answer.
                if error.errno not in (errno.EINTR, errno.ENOENT):
                    raise
