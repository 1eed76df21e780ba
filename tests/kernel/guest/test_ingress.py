# SPDX-License-Identifier: Apache-2.0
"""Listening is free; who may begin to talk is by rule; and whoever may is answered."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from enforcer import cgroups
from tests.kernel.guest.attempts import servers
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.network import FAR, FAR4, INSIDE, NEAR4, OTHER4, FarSide, in_network
from tests.kernel.guest.world import Lictor, Workload

PORT = 7100
READY_SECONDS = 20.0
ANSWER_SECONDS = 2.0
NOBODY = "egress: none\ningress: none"
FROM_FAR = f"egress: none\ningress: {{allow: [{{from: {FAR4}, ports: [{PORT}]}}]}}"
FROM_FAR_ELSEWHERE = (
    f"egress: none\ningress: {{allow: [{{from: {FAR4}, ports: [{PORT + 1}]}}, {{from: {OTHER4}}}]}}"
)
FROM_ANYBODY = "egress: none\ningress: any"

SERVERS: dict[str, tuple[Callable[..., Any], int]] = {
    "tcp": (servers.tcp, socket.SOCK_STREAM),
    "udp": (servers.udp, socket.SOCK_DGRAM),
}


def _say(kind: int, to: str, port: int) -> bytes | None:
    """What the server at `to` answers; None for no answer, or no connection."""
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(ANSWER_SECONDS)
        try:
            client.connect((to, port))
            client.send(b"hello")
            return client.recv(100)
        except (TimeoutError, ConnectionRefusedError):
            return None


def _wait_for(ready: Path, running: Future[Outcome]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not ready.exists():
        assert time.monotonic() < deadline, "the server is not ready"
        assert not running.done(), running.result()
        time.sleep(0.05)


def visit(
    workload: Workload | None, name: str, folder: Path, *, namespace: str = FAR, to: str = NEAR4
) -> tuple[str | None, bytes | None]:
    """(what a server inside heard, what a visitor from `namespace` was answered)."""
    server, kind = SERVERS[name]
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    arguments = ("0.0.0.0", PORT, str(ready))
    with ThreadPoolExecutor(1) as pool:
        if workload is None:
            running = pool.submit(attempt, server, *arguments, namespace=INSIDE)
        else:
            running = pool.submit(workload.run, server, *arguments, namespace=INSIDE)
        _wait_for(ready, running)
        answer = in_network(namespace, lambda: _say(kind, to, PORT))
        outcome = running.result()
    assert outcome.errno is None, outcome
    return outcome.value, answer


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize(
    ("spec", "reason"), [(NOBODY, "not_allowed"), (FROM_FAR_ELSEWHERE, "port")], ids=str
)
def test_who_may_not_reaches_no_server(
    name: str, spec: str, reason: str, far_side: FarSide, confine: Confine, tmp_path: Path
) -> None:
    assert visit(None, name, tmp_path) == ("hello", b"HELLO")
    workload = confine(spec)

    assert visit(workload, name, tmp_path) == (None, None)

    (event,) = workload.fresh_events("inbound")
    assert (event["decision"], event["reason"], event["rule"]) == ("denied", reason, None)
    told = event["object"]
    assert (told["protocol"], told["address"], told["local_port"]) == (name, FAR4, PORT)


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize(("spec", "reason"), [(FROM_FAR, "rule"), (FROM_ANYBODY, "any")], ids=str)
def test_who_may_is_served_and_answered_without_an_egress_rule(
    name: str, spec: str, reason: str, far_side: FarSide, confine: Confine, tmp_path: Path
) -> None:
    workload = confine(spec)

    assert visit(workload, name, tmp_path) == ("hello", b"HELLO")

    (event,) = workload.fresh_events()
    assert (event["kind"], event["decision"], event["reason"]) == ("inbound", "allowed", reason)
    assert (event["object"]["address"], event["object"]["local_port"]) == (FAR4, PORT)


def test_a_visitor_who_may_no_longer_is_not_answered_any_more(
    far_side: FarSide, confine: Confine, lictor: Lictor, tmp_path: Path
) -> None:
    workload = confine(FROM_FAR)
    ready = tmp_path / "ready"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            workload.run, servers.echo, "0.0.0.0", PORT, str(ready), namespace=INSIDE
        )
        _wait_for(ready, running)

        def visit_and_stay() -> list[bytes | None]:
            with socket.create_connection((NEAR4, PORT), timeout=20) as client:
                heard = [_exchange(client, b"one")]
                lictor.policy(f"{FROM_FAR}\nexec: {{allow: [/**]}}", name=workload.policy.name)
                heard.append(_exchange(client, b"two"))
                lictor.policy(NOBODY, name=workload.policy.name)
                heard.append(_exchange(client, b"three"))
                return heard

        assert in_network(FAR, visit_and_stay) == [b"ONE", b"TWO", None]
        (cgroups.folder(workload.path) / "cgroup.kill").write_text("1")
        # Killed, or the agent had ended its connection by then.
        with contextlib.suppress(AssertionError):
            running.result()


def _exchange(client: socket.socket, word: bytes) -> bytes | None:
    client.settimeout(ANSWER_SECONDS if word == b"three" else 20)
    try:
        client.sendall(word)
        return client.recv(100)
    except (TimeoutError, ConnectionError):
        return None


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("address", ["127.0.0.1", NEAR4])
def test_a_server_of_its_own_is_reached_from_within(
    name: str, address: str, far_side: FarSide, confine: Confine, tmp_path: Path
) -> None:
    """Whatever address it has bound: the visitor is not under a policy here."""
    workload = confine(NOBODY)
    reached = visit(workload, name, tmp_path, namespace=INSIDE, to=address)
    assert reached == (("hello", b"HELLO") if name == "tcp" else ("hello", None)) or (
        reached == ("hello", b"HELLO")
    )


def test_a_datagram_server_speaks_only_when_spoken_to(
    far_side: FarSide, confine: Confine, tmp_path: Path
) -> None:
    """To be allowed to be asked is no permission to send."""
    workload = confine(FROM_ANYBODY)
    arguments = ("0.0.0.0", PORT, str(tmp_path / "ready"), (FAR4, 53))
    far_side.mark()
    assert attempt(servers.speak_first, *arguments, namespace=INSIDE) == Outcome(0)
    assert [packet.port for packet in far_side.seen()] == [53]
    assert workload.run(servers.speak_first, *arguments, namespace=INSIDE) == Outcome(errno.EPERM)
    assert far_side.seen() == []
