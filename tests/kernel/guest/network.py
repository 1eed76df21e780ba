# SPDX-License-Identifier: Apache-2.0
"""Two hosts: network namespaces joined by one link, and a record of what arrives at the far one.

    inside   10.77.0.1/24, fd77::1/64     where attempts are made
    far      10.77.0.2/24, fd77::2/64     10.77.1.0/24 and fd77:1::/64 are routed to it as well

The record is a packet socket on the far end of the link: behind every hook of the sender, before
any server. It takes no part in the exchange, so an attempt is seen there whether or not something
listens. `FarSide.mark` and `FarSide.seen` send a marker of their own and wait for it: all that was
sent before has arrived then.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tests.kernel.guest.child import enter_network
from tests.kernel.guest.packets import Packet, parse

INSIDE, FAR = "guest-inside", "guest-far"
NEAR4, NEAR6 = "10.77.0.1", "fd77::1"
FAR4, FAR6 = "10.77.0.2", "fd77::2"
OTHER4, OTHER6 = "10.77.1.9", "fd77:1::9"  # more addresses of the far host
MAPPED4 = f"::ffff:{FAR4}"
TCP_PORTS = (80, 443, 8000, 8005, 8010, 9000)
UDP_PORTS = (53, 443, 8000, 9000)
MARKER_PORT = 65000
PACKET_OUTGOING = 4
ETH_P_ALL = 3
ARRIVAL_SECONDS = 10.0
SO_RCVBUFFORCE = 33

Result = TypeVar("Result")


class FarSide:
    """The far host: its listeners, and the record of what arrived."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._packets = in_network(FAR, _packet_socket)
        self._marker = in_network(INSIDE, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._listeners = in_network(FAR, _listeners)

    def mark(self) -> None:
        """Forget what arrived so far, late packets of earlier attempts included."""
        self.seen()

    def seen(self) -> list[Packet]:
        """What opened or said something since the last call, in the order of arrival.

        Connection requests, datagrams and everything that is neither TCP nor UDP; neighbour
        discovery, a slow machine's retransmissions and the later packets of a TCP connection are
        left out.
        """
        marker = b"marker %d" % next(self._numbers)
        self._marker.sendto(marker, (FAR4, MARKER_PORT))
        found: list[Packet] = []
        while True:
            if not select.select([self._packets], [], [], ARRIVAL_SECONDS)[0]:
                raise TimeoutError("the far side's record is blind: no marker arrived")
            frame, source = self._packets.recvfrom(1 << 16)
            if source[2] == PACKET_OUTGOING:
                continue
            packet = parse(source[1], frame)
            if packet is None:
                continue
            if packet.port == MARKER_PORT:
                if packet.data == marker:
                    return found
                continue
            if packet.request is None or all(packet.request != each.request for each in found):
                found.append(packet)

    def received(self, port: int) -> list[bytes]:
        """Accept all that waits on a TCP port and read what each connection has said by now."""
        said = []
        for listener in self._listeners[port]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.setblocking(False)
                        try:
                            said.append(connection.recv(1 << 16))
                        except (BlockingIOError, ConnectionError):
                            said.append(b"")
        return said

    def close(self) -> None:
        self._packets.close()
        self._marker.close()
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.close()


def in_network(namespace: str, action: Callable[[], Result]) -> Result:
    """Run `action` on a fresh thread in `namespace`; sockets made there stay there."""

    def enter_and_act() -> Result:
        enter_network(namespace)
        return action()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter_and_act).result()


def _packet_socket() -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    made.bind(("eth0", ETH_P_ALL))
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
    return made


def _listeners() -> dict[int, list[socket.socket]]:
    """TCP listeners by port; the UDP sockets only keep the far host from answering `refused`."""
    found: dict[int, list[socket.socket]] = {}
    for port in TCP_PORTS:
        listener = socket.create_server(("::", port), family=socket.AF_INET6, backlog=512,
                                        dualstack_ipv6=True)  # fmt: skip
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 64)
        listener.setblocking(False)
        found[port] = [listener]
    for port in UDP_PORTS:
        receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        receiver.bind(("::", port))
        found.setdefault(-port, []).append(receiver)
    return found


def _ip(*words: str, batch: Sequence[str] = ()) -> None:
    done = subprocess.run(
        ["ip", *words], input="\n".join(batch), text=True, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _remove() -> None:
    for name in (INSIDE, FAR):
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@contextlib.contextmanager
def network() -> Iterator[FarSide]:
    """Make both hosts and remove them at the end."""
    _remove()
    try:
        _ip("-batch", "-", batch=(f"netns add {INSIDE}", f"netns add {FAR}"))
        link = f"link add eth0 type veth peer name eth0 netns {FAR}"
        # No link-local IPv6: its neighbour chatter would fill the record.
        _ip("-netns", INSIDE, "-batch", "-", batch=(
            "link set lo up", link, "link set eth0 addrgenmode none",
            f"address add {NEAR4}/24 dev eth0", f"address add {NEAR6}/64 dev eth0 nodad",
            "link set eth0 up", f"route add default via {FAR4}",
            f"route add default via {FAR6} dev eth0",
        ))  # fmt: skip
        _ip("-netns", FAR, "-batch", "-", batch=(
            "link set lo up", "link set eth0 addrgenmode none",
            f"address add {FAR4}/24 dev eth0", f"address add {FAR6}/64 dev eth0 nodad",
            f"address add {OTHER4}/32 dev eth0", f"address add {OTHER6}/128 dev eth0 nodad",
            "link set eth0 up",
        ))  # fmt: skip
        for name in (INSIDE, FAR):
            subprocess.run(
                ["ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.tcp_fastopen=3",
                 "net.ipv4.ping_group_range=0 65535"],
                check=True,
            )  # fmt: skip
        far = FarSide()
        try:
            yield far
        finally:
            far.close()
    finally:
        _remove()
