# SPDX-License-Identifier: Apache-2.0
"""Device nodes that really open, at numbers of our choice: served through /dev/cuse.

A bare node without a driver fails with ENXIO whoever opens it, so a denial tested on it would
prove nothing. These open for everyone whom the kernel lets through, whatever the node is called,
and each open is recorded. The name given is also the driver's in /proc/devices. Message layouts
are those of include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import threading
from pathlib import Path

CUSE_INIT = 4096
FUSE_OPEN, FUSE_READ, FUSE_RELEASE, FUSE_FLUSH, FUSE_INTERRUPT = 14, 15, 18, 25, 36
REQUEST = struct.Struct("<IIQQIIII")  # struct fuse_in_header
REPLY = struct.Struct("<IiQ")  # struct fuse_out_header
INIT_IN = struct.Struct("<IIII")  # struct cuse_init_in
INIT_OUT = struct.Struct("<8I40x")  # struct cuse_init_out
OPEN_OUT = struct.Struct("<QII")  # struct fuse_open_out
REQUEST_BYTES = 1 << 17
APPEAR_SECONDS = 30.0
# What a GPU's driver has: name, major (0: given at load time), minor.
GPU_NODES = {
    "nvidia0": (195, 0),
    "nvidia1": (195, 1),
    "nvidiactl": (195, 255),
    "nvidia-uvm": (0, 0),
    "nvidia-caps": (0, 1),
}


class DeviceNode:
    """A character device at `major` and `minor`; major 0 lets the kernel choose one."""

    def __init__(self, name: str, major: int, minor: int) -> None:
        self.name, self.major, self.minor = name, major, minor
        self._opens = 0
        self._lock = threading.Lock()
        subprocess.run(["modprobe", "cuse"], check=True)
        self._channel = os.open("/dev/cuse", os.O_RDWR | os.O_CLOEXEC)
        self._ready = threading.Event()
        threading.Thread(target=self._serve, name=f"cuse {name}", daemon=True).start()
        if not self._ready.wait(APPEAR_SECONDS):
            raise TimeoutError(f"{name}: the kernel did not ask to serve it")
        self.major = self.major or self._chosen_major()

    @property
    def path(self) -> str:
        return f"/dev/{self.name}"

    def opens(self) -> int:
        """How often it was opened since the last call."""
        with self._lock:
            count, self._opens = self._opens, 0
        return count

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._channel, REQUEST_BYTES)
            except OSError as error:
                # EINTR where a request was taken back before it was read.
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                raise
            reply = self._answer(request)
            if reply is not None:
                os.write(self._channel, reply)
            # The next request is only read once the device is registered.
            if REQUEST.unpack_from(request)[1] == CUSE_INIT:
                self._ready.set()

    def _answer(self, request: bytes) -> bytes | None:
        _length, opcode, unique, *_rest = REQUEST.unpack_from(request)
        error, body = 0, b""
        if opcode == FUSE_INTERRUPT:
            return None
        if opcode == CUSE_INIT:
            version = INIT_IN.unpack_from(request, REQUEST.size)[:2]
            body = INIT_OUT.pack(*version, 0, 0, 65536, 65536, self.major, self.minor)
            body += f"DEVNAME={self.name}\0".encode()
        elif opcode == FUSE_OPEN:
            with self._lock:
                self._opens += 1
            body = OPEN_OUT.pack(1, 0, 0)
        elif opcode == FUSE_READ:
            body = b"data"
        elif opcode not in (FUSE_RELEASE, FUSE_FLUSH):
            error = -errno.ENOSYS
        return REPLY.pack(REPLY.size + len(body), error, unique) + body

    def _chosen_major(self) -> int:
        """The kernel's choice, from /sys: the node below /dev appears a moment later."""
        text = (Path("/sys/class/cuse") / self.name / "dev").read_text()
        return int(text.partition(":")[0])

    def close(self) -> None:
        """Take the device away."""
        os.close(self._channel)
