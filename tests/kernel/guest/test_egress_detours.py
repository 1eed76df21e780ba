# SPDX-License-Identifier: Apache-2.0
"""Packets that go elsewhere than the address that was judged, and sockets from outside."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kernel.guest.attempts import sockets
from tests.kernel.guest.attempts.sockets import ipv4, ipv6
from tests.kernel.guest.child import attempt
from tests.kernel.guest.network import FAR4, FAR6, INSIDE, OTHER4, OTHER6, FarSide, in_network
from tests.kernel.guest.world import Lictor, Workload, denied

IP_OPTIONS, IP_RETOPTS, IPV6_RTHDR = 4, 7, 57
V4, V6, DATAGRAM = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM
# Loose source route over OTHER4: the packet's own destination is OTHER4, padded to four bytes.
SOURCE_ROUTE = b"\x83\x07\x04" + socket.inet_aton(OTHER4) + b"\x00"
# Routing header of type 2 (mobile IPv6) with one address, which becomes the destination.
ROUTING_HEADER = struct.pack("!BBBBI", 0, 2, 2, 1, 0) + socket.inet_pton(V6, OTHER6)


def source_routed_datagram() -> None:
    with socket.socket(V4, DATAGRAM) as client:
        client.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, SOURCE_ROUTE)
        sockets.raw_sendto(client.fileno(), b"attempt", 0, ipv4(FAR4, 53))


def source_routed_connection() -> None:
    with socket.socket(V4, socket.SOCK_STREAM) as client:
        client.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, SOURCE_ROUTE)
        client.setblocking(False)
        client.connect_ex((FAR4, 80))


def source_routed_message() -> None:
    with socket.socket(V4, DATAGRAM) as client:
        options = [(socket.IPPROTO_IP, IP_RETOPTS, SOURCE_ROUTE)]
        client.sendmsg([b"attempt"], options, 0, (FAR4, 53))


def routed_ipv6_datagram() -> None:
    with socket.socket(V6, DATAGRAM) as client:
        client.setsockopt(socket.IPPROTO_IPV6, IPV6_RTHDR, ROUTING_HEADER)
        sockets.raw_sendto(client.fileno(), b"attempt", 0, ipv6(FAR6, 53))


def routed_ipv6_message() -> None:
    with socket.socket(V6, DATAGRAM) as client:
        options = [(socket.IPPROTO_IPV6, IPV6_RTHDR, ROUTING_HEADER)]
        client.sendmsg([b"attempt"], options, 0, (FAR6, 53))


@pytest.fixture(scope="module")
def far_only(lictor: Lictor) -> Iterator[Workload]:
    """May reach FAR4 and FAR6, but not the far host's other addresses."""
    with lictor.confined(f"egress: {{allow: [{{to: {FAR4}}}, {{to: {FAR6}}}]}}") as workload:
        yield workload


@pytest.mark.parametrize(
    "action",
    [
        source_routed_datagram, source_routed_connection, source_routed_message,
        routed_ipv6_datagram, routed_ipv6_message,
    ],
)  # fmt: skip
def test_route_inside_the_packet_leads_nowhere(
    action: Callable[[], None], far_side: FarSide, far_only: Workload
) -> None:
    far_side.mark()
    assert attempt(action, namespace=INSIDE).errno is None
    (packet,) = far_side.seen()
    assert packet.address in (OTHER4, OTHER6)

    far_only.run(action, namespace=INSIDE)

    assert [seen for seen in far_side.seen() if seen.address in (OTHER4, OTHER6)] == []


@pytest.mark.parametrize(
    ("type_", "action", "arguments"),
    [
        pytest.param(DATAGRAM, sockets.raw_sendto, (b"x", 0, ipv4(OTHER4, 53)), id="sendto"),
        pytest.param(
            socket.SOCK_STREAM,
            sockets.raw_sendto,
            (b"x", socket.MSG_FASTOPEN, ipv4(OTHER4, 80)),
            id="fast-open",
        ),
        pytest.param(DATAGRAM, sockets.raw_connect, (ipv4(OTHER4, 53),), id="connect"),
    ],
)
def test_socket_from_outside_reaches_no_further(
    type_: int,
    action: Callable[..., Any],
    arguments: tuple[Any, ...],
    far_side: FarSide,
    far_only: Workload,
) -> None:
    def use(made: socket.socket) -> None:
        action(made.fileno(), *arguments)
        if action is sockets.raw_connect:
            made.send(b"x")

    far_side.mark()
    with in_network(INSIDE, lambda: socket.socket(V4, type_)) as made:
        assert attempt(use, made, namespace=INSIDE).errno is None
        assert far_side.seen() != []
    with in_network(INSIDE, lambda: socket.socket(V4, type_)) as made:
        assert denied(far_only.run(use, made, namespace=INSIDE))
        assert far_side.seen() == []
