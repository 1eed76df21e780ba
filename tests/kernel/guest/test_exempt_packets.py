# SPDX-License-Identifier: Apache-2.0
"""No socket and no visitor keeps what only an exemption allowed."""

from __future__ import annotations

import errno
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.network import FAR, FAR4, INSIDE, NEAR4, FarSide, in_network
from tests.kernel.guest.programs import wait_until
from tests.kernel.guest.test_egress_packets import shell_in, silent
from tests.kernel.guest.test_exempt import end, exempt
from tests.kernel.guest.test_ingress import NOBODY, SERVERS, visit
from tests.kernel.guest.world import Lictor

PORT = 9300


def test_sockets_made_under_an_exemption_are_judged_afterwards(
    lictor: Lictor, far_side: FarSide, confine: Confine
) -> None:
    """The flag is the event's: neither task nor socket keeps it."""

    def send_before_and_after(path: str) -> list[int]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            found = []
            for _ in range(2):
                try:
                    made.sendto(b"x", (FAR4, 53))
                    found.append(0)
                except OSError as error:
                    found.append(error.errno or -1)
                Path(f"{path}.sent").touch()
                while not Path(f"{path}.ended").exists():
                    time.sleep(0.02)
        return found

    shut = confine("egress: none")
    exempt(lictor, shut)
    base = f"/run/lictor/guest-{shut.id}"
    far_side.mark()
    child = os.fork()
    if child == 0:
        while not Path(f"{base}.sent").exists():
            time.sleep(0.02)
        end(lictor, shut)
        Path(f"{base}.ended").touch()
        os._exit(0)
    outcome = shut.run(send_before_and_after, base, namespace=INSIDE)
    assert os.waitpid(child, 0)[1] == 0
    assert outcome.value == [0, errno.EPERM]
    assert len(far_side.seen()) == 1


def far_server(kind: int) -> socket.socket:
    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.bind((FAR4, PORT))
        if kind == socket.SOCK_STREAM:
            made.listen()
        made.settimeout(20)
        return made

    return in_network(FAR, make)


def test_connections_opened_under_an_exemption_carry_nothing_after_it(
    lictor: Lictor, far_side: FarSide, confine: Confine
) -> None:
    workload = confine("egress: none")
    with (
        far_server(socket.SOCK_STREAM) as server,
        far_server(socket.SOCK_DGRAM) as datagrams,
        shell_in(workload.path) as tell,
    ):
        exempt(lictor, workload)
        workload.mark()
        tell(f"exec 3<>/dev/tcp/{FAR4}/{PORT} 4<>/dev/udp/{FAR4}/{PORT}")
        connection, _ = server.accept()
        connection.settimeout(20)
        for word in ("one", "two"):
            tell(f"echo {word} >&3; echo {word} >&4")
            assert connection.recv(100) == f"{word}\n".encode()
            assert datagrams.recv(100) == f"{word}\n".encode()
        told = [event for event in workload.fresh_events() if event["kind"] != "device"]
        # Each is told of once, however much it carries.
        assert [(event["kind"], event["decision"]) for event in told] == [
            ("connect", "audited"),
            ("send", "audited"),
        ]
        assert all(event["tag"]["exempt"] for event in told)

        end(lictor, workload)
        tell("echo after >&3; echo after >&4")
        assert silent(connection)
        assert silent(datagrams)
        tell("until ! echo again >&3; do sleep 1; done 2>/dev/null")
        assert silent(connection)
        connection.close()
    denied = [event for event in workload.fresh_events() if event["decision"] == "denied"]
    assert {event["object"]["protocol"] for event in denied} == {"tcp", "udp"}


def test_what_the_rules_allow_goes_on_after_an_exemption(
    lictor: Lictor, far_side: FarSide, confine: Confine
) -> None:
    workload = confine(f"egress: {{allow: [{{to: {FAR4}}}]}}")
    with (
        far_server(socket.SOCK_STREAM) as server,
        far_server(socket.SOCK_DGRAM) as datagrams,
        shell_in(workload.path) as tell,
    ):
        exempt(lictor, workload)
        tell(f"exec 3<>/dev/tcp/{FAR4}/{PORT} 4<>/dev/udp/{FAR4}/{PORT}")
        connection, _ = server.accept()
        connection.settimeout(20)
        end(lictor, workload)
        tell("echo after >&3; echo after >&4")
        assert connection.recv(100) == b"after\n"
        assert datagrams.recv(100) == b"after\n"
        connection.close()
    assert {event["decision"] for event in workload.events(kind="connect")} == {"allowed"}


@pytest.mark.parametrize("name", SERVERS)
def test_a_visitor_gets_in_under_an_exemption_only(
    name: str, lictor: Lictor, far_side: FarSide, confine: Confine, tmp_path: Path
) -> None:
    workload = confine(NOBODY)
    exempt(lictor, workload)
    workload.mark()
    assert visit(workload, name, tmp_path) == ("hello", b"HELLO")
    told = [(e["kind"], e["decision"], e["tag"]["exempt"]) for e in workload.fresh_events()]
    assert told == [("inbound", "audited", True)]
    end(lictor, workload)
    assert visit(workload, name, tmp_path) == (None, None)


def answer_late(folder: str) -> None:
    """A UDP server that hears of one visitor and answers when it is told to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", PORT))
        server.settimeout(20)
        Path(f"{folder}/ready").touch()
        _, visitor = server.recvfrom(100)
        Path(f"{folder}/heard").touch()
        while not Path(f"{folder}/ended").exists():
            time.sleep(0.02)
        server.sendto(b"late", visitor)


def test_a_visitor_is_not_answered_after_the_exemption(
    lictor: Lictor, far_side: FarSide, confine: Confine, tmp_path: Path
) -> None:
    workload = confine(NOBODY)
    exempt(lictor, workload)
    with (
        ThreadPoolExecutor(1) as pool,
        in_network(FAR, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as visitor,
    ):
        running = pool.submit(workload.run, answer_late, str(tmp_path), namespace=INSIDE)
        wait_until((tmp_path / "ready").exists, "the server")
        visitor.sendto(b"hello", (NEAR4, PORT))
        wait_until((tmp_path / "heard").exists, "the visitor's word")
        end(lictor, workload)
        (tmp_path / "ended").touch()
        assert running.result().errno == errno.EPERM
        assert silent(visitor)
