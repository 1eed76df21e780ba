# SPDX-License-Identifier: Apache-2.0
"""Sockets that no egress rule can judge are refused when they are made; local ones are free."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kernel.guest.attempts import sockets
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.network import FAR4, FAR6, INSIDE, FarSide
from tests.kernel.guest.world import Lictor, Workload, denied, expected, facts

V4, V6, RAW, DATAGRAM = socket.AF_INET, socket.AF_INET6, socket.SOCK_RAW, socket.SOCK_DGRAM
STREAM, SEQUENCED = socket.SOCK_STREAM, socket.SOCK_SEQPACKET
AF_RDS, AF_TIPC, AF_SMC, AF_KEY, AF_XDP = 21, 30, 43, 15, 44
IPPROTO_SCTP = 132
ECHO = b"\x08\x00\x00\x00\x00\x01\x00\x01attempt"
ECHO6 = b"\x80\x00\x00\x00\x00\x01\x00\x01attempt"
# An IPv4 packet of its own making, to port 53 of the far side.
OWN_PACKET = (
    struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 17, 0, b"\x0a\x4d\x00\x01",
                socket.inet_aton(FAR4))
    + struct.pack("!HHHH", 5353, 53, 15, 0) + b"attempt"
)  # fmt: skip

# What reaches the far side outside: (attempt, its arguments, protocol at the far side, the event).
SENDING: dict[str, tuple[Any, tuple[Any, ...], str, tuple[str, str, str]]] = {
    "raw-icmp": (sockets.raw, (V4, RAW, 1, FAR4, ECHO), "icmp", ("ipv4", "raw", "icmp")),
    "raw-icmpv6": (sockets.raw, (V6, RAW, 58, FAR6, ECHO6), "icmpv6", ("ipv6", "raw", "icmpv6")),
    "raw-own-packet": (
        sockets.raw, (V4, RAW, 255, FAR4, OWN_PACKET), "udp", ("ipv4", "raw", "255"),
    ),
    "raw-udp": (sockets.raw, (V4, RAW, 17, FAR4, OWN_PACKET[20:]), "udp", ("ipv4", "raw", "udp")),
    "raw-unknown": (sockets.raw, (V4, RAW, 253, FAR4, b"attempt"), "253", ("ipv4", "raw", "253")),
    "ping-ipv4": (
        sockets.raw, (V4, DATAGRAM, 1, FAR4, ECHO), "icmp", ("ipv4", "datagram", "icmp"),
    ),
    "ping-ipv6": (
        sockets.raw, (V6, DATAGRAM, 58, FAR6, ECHO6), "icmpv6", ("ipv6", "datagram", "icmpv6"),
    ),
    "packet-raw": (sockets.frame, (RAW,), "ethertype 0x88b5", ("17", "raw", str(0xB588))),
    "packet-datagram": (
        sockets.frame, (DATAGRAM,), "ethertype 0x88b5", ("17", "datagram", str(0xB588)),
    ),
    "sctp-stream": (
        sockets.stream, (V4, sockets.ipv4(FAR4, 80), IPPROTO_SCTP), "sctp",
        ("ipv4", "stream", "132"),
    ),
}  # fmt: skip

# Kernels differ in which of these they have; where there is no such socket there is no hole.
CREATED = {
    "sctp-sequenced": (V4, SEQUENCED, IPPROTO_SCTP),
    "sctp-ipv6": (V6, SEQUENCED, IPPROTO_SCTP),
    "packet-old": (socket.AF_PACKET, 10, 0),
    "packet-oldest": (V4, 10, 0),
    "vsock": (socket.AF_VSOCK, STREAM, 0),
    "vsock-datagram": (socket.AF_VSOCK, DATAGRAM, 0),
    "rds": (AF_RDS, SEQUENCED, 0),
    "tipc": (AF_TIPC, SEQUENCED, 0),
    "smc": (AF_SMC, STREAM, 0),
    "key": (AF_KEY, RAW, 2),
    "xdp": (AF_XDP, RAW, 0),
}
MUST_EXIST = {"sctp-sequenced", "sctp-ipv6", "packet-old", "packet-oldest", "vsock", "xdp"}
NO_SUCH_SOCKET = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EPERM)


@pytest.fixture(scope="module")
def ruled(lictor: Lictor) -> Iterator[Workload]:
    """May reach every address, by what egress rules can judge."""
    with lictor.confined("egress: {allow: [{to: 0.0.0.0/0}, {to: '::/0'}]}") as workload:
        yield workload


@pytest.mark.parametrize("name", SENDING)
def test_socket_without_rules_sends_nothing(name: str, far_side: FarSide, ruled: Workload) -> None:
    action, arguments, protocol, (family, kind, number) = SENDING[name]
    far_side.mark()
    outside = attempt(action, *arguments, namespace=INSIDE)
    assert outside.errno in (None, errno.ECONNREFUSED), outside
    assert protocol in [packet.protocol for packet in far_side.seen()]
    ruled.mark()

    assert denied(ruled.run(action, *arguments, namespace=INSIDE))

    assert far_side.seen() == []
    assert [facts(event) for event in ruled.fresh_events()] == [
        expected(ruled, "socket", "denied", "family", family=family, type=kind, protocol=number)
    ]


@pytest.mark.parametrize("name", CREATED)
def test_socket_without_rules_is_not_made(name: str, far_side: FarSide, ruled: Workload) -> None:
    family, type_, protocol = CREATED[name]
    outside = attempt(sockets.create, family, type_, protocol, namespace=INSIDE)
    assert outside.errno is None or (name not in MUST_EXIST and outside.errno in NO_SUCH_SOCKET), (
        outside
    )
    ruled.mark()

    inside = ruled.run(sockets.create, family, type_, protocol, namespace=INSIDE)

    assert inside.errno == (outside.errno or errno.EPERM)
    assert [event["reason"] for event in ruled.fresh_events()] == (
        ["family"] if outside.errno is None else []
    )


def test_vsock_reaches_nobody(ruled: Workload) -> None:
    subprocess.run(["modprobe", "vsock_loopback"], check=True)
    with socket.socket(socket.AF_VSOCK, STREAM) as server:
        server.bind((socket.VMADDR_CID_ANY, 7000))
        server.listen()
        server.setblocking(False)
        assert attempt(_vsock).errno is None
        server.accept()[0].close()

        assert denied(ruled.run(_vsock))

        with pytest.raises(BlockingIOError):
            server.accept()


def _vsock() -> None:
    with socket.socket(socket.AF_VSOCK, STREAM) as client:
        client.connect((1, 7000))  # VMADDR_CID_LOCAL


def _local(path: str) -> str:
    """Everything of AF_UNIX, a netlink question, a hash of the kernel's."""
    one, other = socket.socketpair()
    with one, other:
        one.send(b"pair")
        assert other.recv(4) == b"pair"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    with socket.socket(socket.AF_NETLINK, RAW, socket.NETLINK_ROUTE) as netlink:
        # RTM_GETLINK, dump; struct rtgenmsg.
        netlink.send(struct.pack("=IHHIIB3x", 20, 18, 0x301, 1, 0, 0))
        assert netlink.recv(1 << 16)
    with socket.socket(socket.AF_ALG, SEQUENCED) as algorithm:
        algorithm.bind(("hash", "sha256"))
        operation, _ = algorithm.accept()
        with operation:
            operation.send(b"abc")
            return operation.recv(32).hex()


def test_local_sockets_are_free(lictor: Lictor, tmp_path: Any) -> None:
    path = os.fspath(tmp_path / "server")
    with socket.socket(socket.AF_UNIX) as server, lictor.confined("egress: none") as workload:
        server.bind(path)
        server.listen()
        outcome = workload.run(_local, path)
        assert outcome.value is not None, outcome
        assert outcome.value.startswith("ba7816bf")
        assert workload.events() == []


@pytest.mark.parametrize(
    ("family", "type_", "protocol"), [(V4, RAW, 1), (socket.AF_PACKET, RAW, 0)]
)
def test_any_means_any_socket(family: int, type_: int, protocol: int, lictor: Lictor) -> None:
    with lictor.confined("egress: any") as workload:
        assert workload.run(sockets.create, family, type_, protocol) == Outcome()
        assert [(e["decision"], e["reason"]) for e in workload.events()] == [("allowed", "any")]
