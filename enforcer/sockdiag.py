# SPDX-License-Identifier: Apache-2.0
"""TCP sockets of a network namespace, found and destroyed through sock_diag.

Source: include/uapi/linux/inet_diag.h, net/ipv4/tcp_diag.c. Needs CAP_NET_ADMIN. A socket that is
destroyed meets ECONNABORTED; multipath TCP has no handler, its subflows are TCP sockets.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Thread

SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 20, 21
NETLINK_SOCK_DIAG = 4
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
CLONE_NEWNET = 0x40000000
# All but listening, waiting and closed ones: established, both ways of opening, all of closing.
CONNECTED = sum(1 << state for state in (1, 2, 3, 4, 5, 8, 9, 11))
MESSAGE_BYTES = 72
INET_DIAG_CGROUP_ID = 21
REQUEST = struct.Struct("=BBBxI48s")
HEADER = struct.Struct("=IHHII")
MAPPED = b"\0" * 10 + b"\xff\xff"


@dataclass(frozen=True)
class Flow:
    """A connection by its far end and its own port; IPv4 addresses are mapped, 16 bytes."""

    address: bytes
    port: int
    local_port: int


Choice = Callable[[Flow, int], bool]
"""(flow, id of the cgroup in which its socket was made) -> whether it shall end."""


def destroy(namespace: str, unwanted: Choice) -> int:
    """Destroy the TCP connections in `namespace` (a path such as /proc/1/ns/net); how many.

    Raises OSError where the namespace is gone or the kernel refuses.
    """
    result: list[int | OSError] = []

    def work() -> None:
        # A thread of its own: a thread's namespace is changed, not the process's.
        try:
            handle = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _enter(handle)
            finally:
                os.close(handle)
            result.append(_destroy_here(unwanted))
        except OSError as error:
            result.append(error)

    thread = Thread(target=work, name="destroy sockets")
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


def _enter(handle: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "setns")


def _destroy_here(unwanted: Choice) -> int:
    count = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        for family in (socket.AF_INET, socket.AF_INET6):
            body = REQUEST.pack(family, socket.IPPROTO_TCP, 0, CONNECTED, bytes(48))
            found = list(_answers(netlink, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, body))
            for message in found:
                identity = message[4:52]
                if not unwanted(flow_of(message), cgroup_of(message)):
                    continue
                body = REQUEST.pack(message[0], socket.IPPROTO_TCP, 0, CONNECTED, identity)
                try:
                    list(_answers(netlink, SOCK_DESTROY, NLM_F_ACK, body))
                except FileNotFoundError:
                    continue  # it ended by itself
                count += 1
    return count


def flow_of(message: bytes) -> Flow:
    """The flow of a struct inet_diag_msg."""
    local_port, port = struct.unpack_from("!HH", message, 4)
    address = message[24:40]
    if message[0] == socket.AF_INET:
        address = MAPPED + address[:4]
    return Flow(address, port, local_port)


def cgroup_of(message: bytes) -> int:
    """Id of the cgroup in which the socket of a struct inet_diag_msg was made; 0 if not told."""
    place = MESSAGE_BYTES
    while place + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, place)
        if kind == INET_DIAG_CGROUP_ID:
            (number,) = struct.unpack_from("=Q", message, place + 4)
            return int(number)
        place += max((length + 3) & ~3, 4)
    return 0


def _answers(netlink: socket.socket, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
    netlink.send(HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body)
    while True:
        data = netlink.recv(1 << 17)
        while data:
            length, found, *_ = HEADER.unpack_from(data)
            message, data = data[HEADER.size : length], data[(length + 3) & ~3 :]
            if found == NLMSG_DONE:
                return
            if found == NLMSG_ERROR:
                (number,) = struct.unpack_from("=i", message)
                if number == 0:
                    return
                raise OSError(-number, os.strerror(-number), "sock_diag")
            yield message
