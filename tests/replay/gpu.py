# SPDX-License-Identifier: Apache-2.0
"""A GPU node that really opens: a character device at 195:0 served through /dev/cuse.

A bare node of that number fails with ENXIO whoever opens it, so a denial tested on it
would prove nothing. Served from user space it opens for everyone whom the kernel lets
through, and every open is recorded here with the process that made it, whatever name
it used. The message layouts are those of include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import threading
from pathlib import Path

from tests.replay.places import GPU_MAJOR, GPU_MINOR, GPU_NODE
from tests.replay.records import Record

CUSE_INIT = 4096
FUSE_OPEN, FUSE_READ, FUSE_RELEASE, FUSE_FLUSH, FUSE_INTERRUPT = 14, 15, 18, 25, 36
REQUEST = struct.Struct("<IIQQIIII")  # struct fuse_in_header
REPLY = struct.Struct("<IiQ")  # struct fuse_out_header
INIT_IN = struct.Struct("<IIII")  # struct cuse_init_in
INIT_OUT = struct.Struct("<8I40x")  # struct cuse_init_out
OPEN_OUT = struct.Struct("<QII")  # struct fuse_open_out
CONTENT = b"GPU 0\n"
BUFFER = 1 << 17


def answer(request: bytes) -> tuple[bytes | None, int | None]:
    """Answer one request: (reply or None where none is due, pid of an open or None)."""
    _length, opcode, unique, _node, _uid, _gid, pid, _pad = REQUEST.unpack_from(request)
    if opcode == FUSE_INTERRUPT:
        return None, None
    error, body, opener = 0, b"", None
    if opcode == CUSE_INIT:
        major, minor, _unused, _flags = INIT_IN.unpack_from(request, REQUEST.size)
        body = INIT_OUT.pack(major, minor, 0, 0, 65536, 65536, GPU_MAJOR, GPU_MINOR)
        body += f"DEVNAME={GPU_NODE.name}\0".encode()
    elif opcode == FUSE_OPEN:
        body, opener = OPEN_OUT.pack(1, 0, 0), pid
    elif opcode == FUSE_READ:
        body = CONTENT
    elif opcode not in (FUSE_RELEASE, FUSE_FLUSH):
        error = -errno.ENOSYS
    return REPLY.pack(REPLY.size + len(body), error, unique) + body, opener


class GpuNode:
    """Serves the node from construction on; ``record`` has one entry per open, with its pid."""

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        self.record = Record(path)
        subprocess.run(["modprobe", "cuse"], check=False, capture_output=True)
        try:
            self._channel = os.open("/dev/cuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as failure:
            raise RuntimeError(f"/dev/cuse: {failure.strerror}: no GPU node to serve") from failure
        self._announced = threading.Event()
        threading.Thread(target=self._serve, name="gpu", daemon=True).start()
        if not self._announced.wait(timeout):
            raise TimeoutError(f"{GPU_NODE}: the kernel did not ask to serve it")

    def _serve(self) -> None:
        while True:
            request = os.read(self._channel, BUFFER)
            reply, opener = answer(request)
            if opener is not None:
                self.record.add(event="open", pid=opener)
            if reply is not None:
                os.write(self._channel, reply)
            self._announced.set()

    def close(self) -> None:
        """Take the node away."""
        os.close(self._channel)
