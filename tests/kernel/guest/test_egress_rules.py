# SPDX-License-Identifier: Apache-2.0
"""What egress rules mean: ports, protocols, nested networks, loopback, any, none and grants."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from tests.kernel.guest.attempts import sockets
from tests.kernel.guest.child import attempt
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.network import (
    FAR4,
    FAR6,
    INSIDE,
    MAPPED4,
    OTHER4,
    OTHER6,
    FarSide,
    in_network,
)
from tests.kernel.guest.world import Workload

# (protocol, address, port): what the kernel should find for it, `rule` or the reason of a denial.
Expectations = dict[tuple[str, str, int], str]
LOOPBACK_PORT = 7777


def check(workload: Workload, far_side: FarSide, wanted: Expectations) -> None:
    """Try all of `wanted` outside, where all must arrive, and inside, where only the allowed may.

    In `wanted` an allowed one names its rule, as `egress.allow[0]`; a denied one its reason.
    """
    tries = list(wanted)
    allowed = [place for place, found in wanted.items() if "." in found]
    far_side.mark()
    assert attempt(sockets.many, tries, namespace=INSIDE).value == [0] * len(tries)
    assert _arrived(far_side) == [_seen(*place) for place in tries]

    results = workload.run(sockets.many, tries, namespace=INSIDE).value

    assert dict(zip(tries, results, strict=True)) == {
        place: 0 if place in allowed else errno.EPERM for place in tries
    }
    assert _arrived(far_side) == [_seen(*place) for place in allowed]
    assert [event["rule"] or event["reason"] for event in workload.fresh_events()] == list(
        wanted.values()
    )


def _arrived(far_side: FarSide) -> list[tuple[str, str, int]]:
    return [(packet.protocol, packet.address, packet.port) for packet in far_side.seen()]


def _seen(protocol: str, address: str, port: int) -> tuple[str, str, int]:
    return protocol, address.removeprefix("::ffff:"), port


def test_ports_and_protocols(confine: Confine, far_side: FarSide) -> None:
    workload = confine(f"""
        egress:
          allow:
            - {{to: {FAR4}, protocol: tcp, ports: [443, 8000-8005]}}
            - {{to: {FAR4}, protocol: udp, ports: [53]}}
            - {{to: {OTHER4}, ports: [443, 9000]}}
            - {{to: {OTHER6}, protocol: udp}}
    """)
    check(workload, far_side, {
        ("tcp", FAR4, 443): "egress.allow[0]",
        ("tcp", FAR4, 8000): "egress.allow[0]",
        ("tcp", FAR4, 8005): "egress.allow[0]",
        ("tcp", FAR4, 8010): "port",
        ("tcp", FAR4, 80): "port",
        ("udp", FAR4, 443): "port",
        ("udp", FAR4, 53): "egress.allow[1]",
        ("tcp", MAPPED4, 443): "egress.allow[0]",
        ("udp", MAPPED4, 443): "port",
        ("tcp", OTHER4, 443): "egress.allow[2]",
        ("udp", OTHER4, 443): "egress.allow[2]",
        ("udp", OTHER4, 9000): "egress.allow[2]",
        ("tcp", OTHER4, 80): "port",
        ("udp", OTHER6, 9000): "egress.allow[3]",
        ("tcp", OTHER6, 9000): "port",
        ("udp", FAR6, 9000): "not_allowed",
    })  # fmt: skip


def test_networks_within_networks_add_up(confine: Confine, far_side: FarSide) -> None:
    workload = confine(f"""
        egress:
          allow:
            - {{to: 10.0.0.0/8, ports: [443]}}
            - {{to: 10.77.0.0/24, ports: [80]}}
            - {{to: {FAR4}, ports: [9000]}}
            - {{to: fd00::/8, ports: [443]}}
            - {{to: {FAR6}/128, ports: [80]}}
    """)
    check(workload, far_side, {
        ("tcp", FAR4, 443): "egress.allow[0]",
        ("tcp", FAR4, 80): "egress.allow[1]",
        ("tcp", FAR4, 9000): "egress.allow[2]",
        ("tcp", FAR4, 8000): "port",
        ("tcp", OTHER4, 443): "egress.allow[0]",
        ("tcp", OTHER4, 80): "port",
        ("tcp", FAR6, 443): "egress.allow[3]",
        ("tcp", FAR6, 80): "egress.allow[4]",
        ("tcp", OTHER6, 80): "port",
    })  # fmt: skip


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_everything_of_one_family_says_nothing_of_the_other(
    family: str, confine: Confine, far_side: FarSide
) -> None:
    network = {"ipv4": "0.0.0.0/0", "ipv6": "'::/0'"}[family]
    workload = confine(f"egress: {{allow: [{{to: {network}}}]}}")
    ipv4, ipv6 = ("egress.allow[0]", "not_allowed")[:: 1 if family == "ipv4" else -1]
    check(workload, far_side, {
        ("tcp", FAR4, 80): ipv4,
        ("udp", FAR4, 53): ipv4,
        ("tcp", MAPPED4, 80): ipv4,
        ("udp", MAPPED4, 53): ipv4,
        ("tcp", FAR6, 80): ipv6,
        ("udp", FAR6, 53): ipv6,
    })  # fmt: skip


@pytest.mark.parametrize(("section", "found"), [("any", "egress"), ("none", "not_allowed")])
def test_whole_section(section: str, found: str, confine: Confine, far_side: FarSide) -> None:
    workload = confine(f"egress: {section}")
    places = (("tcp", FAR4, 80), ("tcp", FAR6, 80), ("udp", FAR4, 53), ("udp", MAPPED4, 53))
    if section == "any":
        far_side.mark()
        assert workload.run(sockets.many, list(places), namespace=INSIDE).value == [0] * 4
        assert len(far_side.seen()) == 4
        assert {(event["rule"], event["reason"]) for event in workload.events()} == {(found, "any")}
    else:
        check(workload, far_side, dict.fromkeys(places, found))


def test_grant_adds_to_the_base_for_those_who_hold_it(confine: Confine, far_side: FarSide) -> None:
    spec = f"""
        egress: {{allow: [{{to: {FAR4}, ports: [443]}}]}}
        grants:
          mirror: {{egress: {{allow: [{{to: {FAR4}, ports: [80]}}, {{to: {OTHER4}}}]}}}}
    """
    places = ("tcp", FAR4, 443), ("tcp", FAR4, 80), ("tcp", OTHER4, 80)
    base = "egress.allow[0]"
    check(confine(spec), far_side, dict(zip(places, (base, "port", "not_allowed"), strict=True)))
    granted = confine(spec, grants=["mirror"])
    mirror = "grants.mirror.egress.allow"
    check(granted, far_side, dict(zip(places, (base, f"{mirror}[0]", f"{mirror}[1]"), strict=True)))
    assert {tuple(event["tag"]["grants"]) for event in granted.events()} == {("mirror",)}


@pytest.fixture
def loopback_servers(far_side: FarSide) -> Iterator[dict[str | None, socket.socket]]:
    """A server on every loopback address of the host and of the namespace `INSIDE`."""
    servers = {None: _loopback_server(), INSIDE: in_network(INSIDE, _loopback_server)}
    yield servers
    for server in servers.values():
        server.close()


def _loopback_server() -> socket.socket:
    server = socket.create_server(
        ("::", LOOPBACK_PORT), family=socket.AF_INET6, dualstack_ipv6=True
    )
    server.setblocking(False)
    return server


def _visits(server: socket.socket) -> int:
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::",
                                     "::ffff:127.0.0.1"])  # fmt: skip
def test_loopback_is_allowed_only_in_a_namespace_of_its_own(
    address: str,
    confine: Confine,
    loopback_servers: dict[str | None, socket.socket],
) -> None:
    place = [("tcp", address, LOOPBACK_PORT)]
    allowing = confine("egress: {allow: [{to: loopback}]}")
    denying = confine(f"egress: {{allow: [{{to: {FAR4}}}]}}")
    for namespace, server in loopback_servers.items():
        own = namespace is not None
        assert attempt(sockets.many, place, namespace=namespace).value == [0]
        assert _visits(server) == 1
        result = allowing.run(sockets.many, place, namespace=namespace).value
        assert result == [0 if own else errno.EPERM]
        assert _visits(server) == int(own)
        assert denying.run(sockets.many, place, namespace=namespace).value == [errno.EPERM]
        assert _visits(server) == 0
    assert [(e["decision"], e["reason"], e["rule"]) for e in allowing.fresh_events()] == [
        ("denied", "not_allowed", None),
        ("allowed", "loopback", "egress.allow[0]"),
    ]
    assert {event["reason"] for event in denying.fresh_events()} == {"not_allowed"}
