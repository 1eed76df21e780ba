# SPDX-License-Identifier: Apache-2.0
"""One attempt of every kind that is judged, in one process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from tests.kernel.guest.attempts import devices, programs, sockets
from tests.kernel.guest.network import FAR4, FAR6, MAPPED4

V4, V6 = socket.AF_INET, socket.AF_INET6
KINDS = {
    "connect-ipv4": "connect",
    "connect-ipv6": "connect",
    "connect-mapped": "connect",
    "send-ipv4": "send",
    "send-ipv6": "send",
    "implied": "connect",
    "raw": "socket",
    "exec": "exec",
    "device": "device",
}


def everything(program: str, node: str) -> dict[str, int]:
    """Name of each attempt of KINDS -> 0, or the errno that it met; and `pid`."""
    attempts: dict[str, Callable[[], object]] = {
        "connect-ipv4": lambda: sockets.stream(V4, sockets.ipv4(FAR4, 80)),
        "connect-ipv6": lambda: sockets.stream(V6, sockets.ipv6(FAR6, 80)),
        "connect-mapped": lambda: sockets.stream(V6, sockets.ipv6(MAPPED4, 80)),
        "send-ipv4": lambda: sockets.sendto(V4, sockets.ipv4(FAR4, 53)),
        "send-ipv6": lambda: sockets.sendto(V6, sockets.ipv6(FAR6, 53)),
        "implied": lambda: sockets.fast_open(V4, sockets.ipv4(FAR4, 80)),
        "raw": lambda: sockets.raw(V4, socket.SOCK_RAW, 253, FAR4, b"attempt"),
        "exec": lambda: programs.start(program),
        "device": lambda: devices.open_read(node),
    }
    results = {"pid": os.getpid()}
    for name, action in attempts.items():
        try:
            action()
            results[name] = 0
        except OSError as error:
            results[name] = error.errno or -1
    return results
