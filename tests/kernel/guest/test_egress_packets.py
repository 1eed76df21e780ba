# SPDX-License-Identifier: Apache-2.0
"""What no hook on a system call sees: connections older than the rules, routes inside packets."""

from __future__ import annotations

import contextlib
import errno
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enforcer import cgroups
from tests.kernel.guest.attempts import sockets
from tests.kernel.guest.child import attempt, enter_network
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.network import FAR, FAR4, FAR6, INSIDE, OTHER4, FarSide, in_network
from tests.kernel.guest.world import AppliedPolicy, Lictor, denied

OLDER = "/guest-older"
PORT = 9200
SILENCE_SECONDS = 2.0
IP_OPTIONS, IPV6_RTHDR = 4, 57
# Loose source route by way of the far host's other address.
SOURCE_ROUTE = bytes((131, 7, 4)) + socket.inet_aton(OTHER4) + b"\x00"
# A type 2 routing header; which type does not matter, that there is one does.
ROUTING_HEADER = bytes((0, 2, 2, 1)) + bytes(4) + socket.inet_pton(socket.AF_INET6, FAR6)


@contextlib.contextmanager
def shell_in(cgroup: str) -> Iterator[Callable[[str], None]]:
    """A shell in the inside network and in `cgroup`, that does what it is told, and says so."""

    def enter() -> None:
        enter_network(INSIDE)
        (cgroups.folder(cgroup) / "cgroup.procs").write_text("0")

    with subprocess.Popen(
        ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=enter
    ) as shell:
        orders, answers = shell.stdin, shell.stdout
        assert orders is not None
        assert answers is not None

        def tell(order: str) -> None:
            print(f"{order}; echo done", file=orders, flush=True)
            assert answers.readline() == "done\n"

        yield tell
        orders.close()


@pytest.fixture
def server(far_side: FarSide) -> Iterator[socket.socket]:
    with in_network(FAR, lambda: socket.create_server((FAR4, PORT))) as made:
        made.settimeout(20)
        yield made


@pytest.fixture
def datagrams(far_side: FarSide) -> Iterator[socket.socket]:
    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((FAR4, PORT))
        return made

    with in_network(FAR, make) as made:
        made.settimeout(20)
        yield made


def silent(receiver: socket.socket) -> bool:
    receiver.settimeout(SILENCE_SECONDS)
    try:
        receiver.recv(100)
    except TimeoutError:
        return True
    finally:
        receiver.settimeout(20)
    return False


@pytest.fixture
def older() -> Iterator[str]:
    cgroups.folder(OLDER).mkdir()
    yield OLDER
    cgroups.folder(OLDER).rmdir()


ELSEWHERE = f"select: [{{cgroup: {OLDER}}}]\negress: {{allow: [{{to: {OTHER4}}}]}}"
THERE = f"select: [{{cgroup: {OLDER}}}]\negress: {{allow: [{{to: {FAR4}}}]}}"


def test_connections_older_than_the_policy_carry_nothing_more(
    older: str,
    server: socket.socket,
    datagrams: socket.socket,
    policy: Callable[..., AppliedPolicy],
    lictor: Lictor,
) -> None:
    with shell_in(older) as tell:
        tell(f"exec 3<>/dev/tcp/{FAR4}/{PORT} 4<>/dev/udp/{FAR4}/{PORT}; echo before >&3")
        connection, _ = server.accept()
        connection.settimeout(20)
        assert connection.recv(100) == b"before\n"
        tell("echo before >&4")
        assert datagrams.recv(100) == b"before\n"

        applied = policy(ELSEWHERE)
        tell("echo after >&3; echo after >&4")

        assert silent(connection)
        assert silent(datagrams)
        # The agent ends it, so that nobody waits for what will never come.
        tell("until ! echo again >&3; do sleep 1; done 2>/dev/null")
        assert silent(connection)
        connection.close()
    told = [e for e in lictor.events(policy=applied.name) if e["decision"] == "denied"]
    assert {(e["object"]["protocol"], e["reason"]) for e in told} == {
        ("tcp", "not_allowed"),
        ("udp", "not_allowed"),
    }


def test_a_tightened_revision_ends_what_the_one_before_allowed(
    older: str, server: socket.socket, policy: Callable[..., AppliedPolicy]
) -> None:
    applied = policy(THERE)
    with shell_in(older) as tell:
        tell(f"exec 3<>/dev/tcp/{FAR4}/{PORT}; echo one >&3")
        connection, _ = server.accept()
        connection.settimeout(20)
        assert connection.recv(100) == b"one\n"

        policy(f"{THERE}\nexec: {{allow: [/**]}}", name=applied.name)
        tell("echo two >&3")
        assert connection.recv(100) == b"two\n"

        policy(ELSEWHERE, name=applied.name)
        tell("echo three >&3")
        assert silent(connection)
        connection.close()


def _send_with_option(family: int, level: int, name: int, value: bytes, to: bytes) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.setsockopt(level, name, value)
        sockets.raw_sendto(client.fileno(), sockets.WORD, 0, to)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(
            (socket.AF_INET, socket.IPPROTO_IP, IP_OPTIONS, SOURCE_ROUTE, sockets.ipv4(FAR4, 53)),
            id="source-route",
        ),
        pytest.param(
            (socket.AF_INET6, socket.IPPROTO_IPV6, IPV6_RTHDR, ROUTING_HEADER,
             sockets.ipv6(FAR6, 53)),
            id="routing-header",
        ),
    ],
)  # fmt: skip
def test_a_packet_that_brings_its_own_route_stays_here(
    arguments: tuple[Any, ...], far_side: FarSide, confine: Confine
) -> None:
    workload = confine(f"egress: {{allow: [{{to: {FAR4}}}, {{to: {FAR6}}}]}}")
    far_side.mark()
    assert attempt(_send_with_option, *arguments, namespace=INSIDE).errno is None
    assert len(far_side.seen()) == 1

    assert denied(workload.run(_send_with_option, *arguments, namespace=INSIDE))

    assert far_side.seen() == []
    assert ("denied", "options") in [
        (event["decision"], event["reason"]) for event in workload.fresh_events()
    ]
    assert workload.run(sockets.sendto, arguments[0], arguments[-1], namespace=INSIDE).errno is None
    assert len(far_side.seen()) == 1


def test_whoever_left_the_cgroup_gets_no_socket(lictor: Lictor, far_side: FarSide) -> None:
    """No program of the workload's would see what it sends."""
    outside = "/guest-outside"
    cgroups.folder(outside).mkdir()
    try:
        with lictor.confined(f"egress: {{allow: [{{to: {FAR4}}}]}}") as workload:
            far_side.mark()
            assert denied(workload.run(_leave_and_send, outside, namespace=INSIDE))
            assert far_side.seen() == []
    finally:
        cgroups.folder(outside).rmdir()


def _leave_and_send(cgroup: str) -> None:
    Path("/dev/null").read_bytes()  # judged, and so known to be the workload's
    (cgroups.folder(cgroup) / "cgroup.procs").write_text("0")
    sockets.sendto(socket.AF_INET, sockets.ipv4(OTHER4, 53))


def test_many_destinations_from_one_socket_are_judged_each(
    far_side: FarSide, confine: Confine
) -> None:
    """What a socket remembers as allowed is that one flow."""
    workload = confine(f"egress: {{allow: [{{to: {FAR4}, ports: [53, 8000]}}]}}")
    far_side.mark()
    found = workload.run(_alternate, [53, 443, 8000, 443, 53, 9000], namespace=INSIDE).value
    assert found == [0, errno.EPERM, 0, errno.EPERM, 0, errno.EPERM]
    assert [packet.port for packet in far_side.seen()] == [53, 8000, 53]


def _alternate(ports: list[int]) -> list[int]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for port in ports:
            try:
                client.connect((FAR4, port))
                client.send(sockets.WORD)
                found.append(0)
            except OSError as error:
                found.append(error.errno or -1)
    return found
