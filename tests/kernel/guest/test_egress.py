# SPDX-License-Identifier: Apache-2.0
"""Every way to reach an address is judged by address, protocol and port, and by no other thing."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.kernel.guest.attempts import sockets
from tests.kernel.guest.attempts.sockets import IPPROTO_MPTCP, WORD, ipv4, ipv6
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.network import FAR4, FAR6, INSIDE, MAPPED4, OTHER4, FarSide
from tests.kernel.guest.programs import compiled
from tests.kernel.guest.world import Lictor, Workload, denied, expected, facts

TCP, UDP = 80, 53
V4, V6 = socket.AF_INET, socket.AF_INET6
ELSEWHERE = "egress: {allow: [{to: 192.0.2.0/24}, {to: 2001:db8::/32}, {to: loopback}]}"
FAR_ONLY = f"egress: {{allow: [{{to: {FAR4}}}, {{to: {FAR6}}}]}}"


@dataclass(frozen=True)
class Form:
    """One way to reach the far side: what arrives there, and what the event says.

    Port 80 is reached by TCP, port 53 by UDP. `protocol`: what the event calls the transport
    where it is not that.
    """

    action: Callable[..., Any]
    arguments: tuple[Any, ...]
    kind: str
    family: str
    port: int
    protocol: str = ""
    packets: int = 1
    address: str = FAR4
    # A connect that a send implies gets no answer.
    waits: bool = False

    @property
    def transport(self) -> str:
        return "tcp" if self.port == TCP else "udp"

    def run(self, workload: Workload | None) -> Outcome:
        if workload is None:
            return attempt(self.action, *self.arguments, namespace=INSIDE)
        return workload.run(self.action, *self.arguments, namespace=INSIDE)

    def refused(self, outcome: Outcome) -> bool:
        return outcome.errno == errno.ENOTCONN if self.waits else denied(outcome)

    def arrived(self, far_side: FarSide) -> bool:
        """Whether exactly this form's packets reached the far side; False if nothing did."""
        seen = far_side.seen()
        for packet in seen:
            assert (packet.protocol, packet.address, packet.port) == (
                self.transport if self.protocol != "udplite" else "udplite",
                self.address,
                self.port,
            ), packet
        assert len(seen) in (0, self.packets), seen
        return bool(seen)

    def event(self, workload: Workload, decision: str, reason: str, **rest: Any) -> dict[str, Any]:
        return expected(
            workload, self.kind, decision, reason,
            family=self.family, protocol=self.protocol or self.transport,
            address=self.address, port=self.port, **rest,
        )  # fmt: skip


def _tcp(action: Callable[..., Any], mapped: str = "ipv6", **rest: Any) -> dict[str, Form]:
    name = action.__name__.replace("_", "-")
    return {
        f"{name}-ipv4": Form(action, (V4, ipv4(FAR4, TCP)), "connect", "ipv4", TCP, **rest),
        f"{name}-ipv6": Form(
            action, (V6, ipv6(FAR6, TCP)), "connect", "ipv6", TCP, address=FAR6, **rest
        ),
        f"{name}-mapped": Form(action, (V6, ipv6(MAPPED4, TCP)), "connect", mapped, TCP, **rest),
    }


def _udp(action: Callable[..., Any], kind: str, mapped: str, **rest: Any) -> dict[str, Form]:
    name = action.__name__.replace("_", "-")
    return {
        f"{name}-ipv4": Form(action, (V4, ipv4(FAR4, UDP)), kind, "ipv4", UDP, **rest),
        f"{name}-ipv6": Form(
            action, (V6, ipv6(FAR6, UDP)), kind, "ipv6", UDP, address=FAR6, **rest
        ),
        f"{name}-mapped": Form(action, (V6, ipv6(MAPPED4, UDP)), kind, mapped, UDP, **rest),
        f"{name}-ipv4-address-on-ipv6-socket": Form(
            action, (V6, ipv4(FAR4, UDP)), kind, "ipv4", UDP, **rest
        ),
    }


FORMS = {
    **_tcp(sockets.stream),
    **_tcp(sockets.fast_open, mapped="ipv4", waits=True),
    **_tcp(sockets.deferred_fast_open),
    # Its connect(2) sends nothing and is no event.
    **_udp(sockets.connected_datagram, "send", mapped="ipv4"),
    # The kernel hands a datagram to a v4-mapped address to its IPv4 code.
    **_udp(sockets.sendto, "send", mapped="ipv4"),
    **_udp(sockets.sendmsg, "send", mapped="ipv4"),
    **_udp(sockets.sendmmsg, "send", mapped="ipv4", packets=2),
    "sendto-unspecified-family": Form(
        sockets.sendto, (V4, ipv4(FAR4, UDP, socket.AF_UNSPEC)), "send", "ipv4", UDP
    ),
    "short-ipv6-address": Form(
        sockets.stream, (V6, ipv6(FAR6, TCP)[:24]), "connect", "ipv6", TCP, address=FAR6
    ),
}


@pytest.fixture(scope="module")
def elsewhere(lictor: Lictor) -> Iterator[Workload]:
    """May reach other addresses than the far side's."""
    with lictor.confined(ELSEWHERE) as workload:
        yield workload


@pytest.fixture(scope="module")
def far_only(lictor: Lictor) -> Iterator[Workload]:
    """May reach the far side."""
    with lictor.confined(FAR_ONLY) as workload:
        yield workload


@pytest.mark.parametrize("name", FORMS)
def test_denied_address_gets_no_packet(name: str, far_side: FarSide, elsewhere: Workload) -> None:
    form = FORMS[name]
    far_side.mark()
    form.run(None)
    assert form.arrived(far_side)
    elsewhere.mark()

    assert form.refused(form.run(elsewhere))

    assert not form.arrived(far_side)
    assert [facts(event) for event in elsewhere.fresh_events()] == [
        form.event(elsewhere, "denied", "not_allowed")
    ]


@pytest.mark.parametrize("name", FORMS)
def test_allowed_address_is_reached(name: str, far_side: FarSide, far_only: Workload) -> None:
    form = FORMS[name]
    far_side.mark()
    far_only.mark()

    assert form.run(far_only) == Outcome()

    assert form.arrived(far_side)
    rule = f"egress.allow[{int(form.address == FAR6)}]"
    one = form.event(far_only, "allowed", "rule", rule=rule)
    events = [facts(event) for event in far_only.fresh_events()]
    assert events == [one] * form.packets


def test_multipath_tcp_is_judged_as_tcp(
    far_side: FarSide, elsewhere: Workload, far_only: Workload
) -> None:
    arguments = (sockets.stream, V4, ipv4(FAR4, TCP), IPPROTO_MPTCP)
    far_side.mark()
    assert attempt(*arguments, namespace=INSIDE) == Outcome()
    assert [packet.port for packet in far_side.seen()] == [TCP]
    elsewhere.mark()

    assert denied(elsewhere.run(*arguments, namespace=INSIDE))
    assert far_side.seen() == []
    (event,) = elsewhere.fresh_events()
    assert (event["decision"], event["object"]["protocol"]) == ("denied", "mptcp")

    assert far_only.run(*arguments, namespace=INSIDE) == Outcome()
    assert [packet.port for packet in far_side.seen()] == [TCP]


def test_multipath_tcp_connected_by_a_send_is_judged(
    far_side: FarSide, elsewhere: Workload
) -> None:
    arguments = (sockets.fast_open, V4, ipv4(FAR4, TCP), IPPROTO_MPTCP)
    far_side.mark()
    outside = attempt(*arguments, namespace=INSIDE)
    reached = [packet.port for packet in far_side.seen()]
    # Before 6.2 such a socket cannot connect by a send.
    assert reached == ([] if outside.errno else [TCP])

    inside = elsewhere.run(*arguments, namespace=INSIDE)
    assert far_side.seen() == []
    assert inside.errno == (outside.errno or errno.ENOTCONN)


def test_connect_by_io_uring_is_judged(far_side: FarSide, elsewhere: Workload) -> None:
    arguments = (sockets.program, compiled("uring"), "connect", FAR4, str(TCP))
    far_side.mark()
    assert attempt(*arguments, namespace=INSIDE).errno is None
    assert [packet.port for packet in far_side.seen()] == [TCP]
    elsewhere.mark()

    assert denied(elsewhere.run(*arguments, namespace=INSIDE))

    assert far_side.seen() == []
    form = Form(sockets.program, (), "connect", "ipv4", TCP)
    assert [facts(event) for event in elsewhere.fresh_events("connect")] == [
        form.event(elsewhere, "denied", "not_allowed")
    ]


def test_data_of_an_allowed_fast_open_arrives(far_side: FarSide, far_only: Workload) -> None:
    far_side.received(TCP)
    for _ in range(2):  # the first fetches the far side's cookie, the second has data in its SYN
        assert FORMS["fast-open-ipv4"].run(far_only) == Outcome()
    far_side.mark()
    assert far_side.received(TCP) == [WORD, WORD]


def _disconnect(to: bytes) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        sockets.raw_connect(client.fileno(), to)
        peer = str(client.getpeername()[0])
        sockets.raw_connect(client.fileno(), bytes(16))
        try:
            client.getpeername()
        except OSError:
            return peer
    raise AssertionError("still connected")


def test_dissolving_an_association_is_free(confine: Confine) -> None:
    workload = confine(FAR_ONLY)
    for address in (FAR4, OTHER4):
        assert workload.run(_disconnect, ipv4(address, UDP), namespace=INSIDE) == Outcome(address)
    assert workload.fresh_events() == []


def _connect_raw(family: int, to: bytes) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        sockets.raw_connect(client.fileno(), to)


@pytest.mark.parametrize(
    ("family", "to"),
    [
        pytest.param(V4, ipv4(FAR4, TCP)[:8], id="cut-ipv4"),
        pytest.param(V6, ipv6(FAR6, TCP)[:23], id="cut-ipv6"),
        pytest.param(V4, b"\x4d\x00" + ipv4(FAR4, TCP)[2:], id="unknown-family"),
    ],
)
def test_unreadable_address_is_denied(
    family: int, to: bytes, far_side: FarSide, far_only: Workload
) -> None:
    far_side.mark()
    assert not denied(attempt(_connect_raw, family, to, namespace=INSIDE))
    far_only.mark()

    assert denied(far_only.run(_connect_raw, family, to, namespace=INSIDE))

    assert far_side.seen() == []
    (event,) = far_only.fresh_events()
    assert (event["kind"], event["decision"], event["reason"]) == (
        "connect", "denied", "unreadable",
    )  # fmt: skip


def test_address_too_short_for_a_family_reaches_nobody(
    far_side: FarSide, far_only: Workload
) -> None:
    """From 7.x on another LSM refuses it before ours is asked."""
    far_side.mark()
    assert attempt(_connect_raw, V4, b"\x02", namespace=INSIDE).errno == errno.EINVAL
    inside = far_only.run(_connect_raw, V4, b"\x02", namespace=INSIDE)
    assert inside.errno in (errno.EPERM, errno.EINVAL)
    assert far_side.seen() == []


def test_socket_made_outside_is_judged_by_the_task_that_connects_it(elsewhere: Workload) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as made:
        server.setblocking(False)
        to = ipv4("127.0.0.1", server.getsockname()[1])
        with socket.socket() as other:
            assert attempt(sockets.raw_connect, other.fileno(), to) == Outcome()
            server.accept()[0].close()

        assert denied(elsewhere.run(sockets.raw_connect, made.fileno(), to))

        with pytest.raises(BlockingIOError):
            server.accept()
