# SPDX-License-Identifier: Apache-2.0
"""Guard `descriptors`: what comes in already open is judged where it comes in."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.guest.actor import Actor, actors
from tests.kernel.guest.child import Outcome
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.nodes import CountedNode
from tests.kernel.guest.world import Lictor, Workload

POLICY = "devices: {allow: [standard], gpus: none}"


@pytest.fixture(scope="module")
def workload(lictor: Lictor) -> Iterator[Workload]:
    with lictor.confined(POLICY) as made:
        yield made


@pytest.fixture
def inside(workload: Workload) -> Iterator[Actor]:
    with Actor(workload) as actor:
        workload.mark()
        yield actor


def passed(descriptor: int, to: Actor, path: Path) -> Outcome:
    """Send a descriptor to an actor; "nothing" where only the message arrived."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def send() -> None:
            peer, _ = listener.accept()
            with peer:
                socket.send_fds(peer, [b"x"], [descriptor])

        thread = threading.Thread(target=send)
        thread.start()
        outcome = to.act("receive", path)
        thread.join()
    return outcome


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection that was made outside."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with near, far:
            yield near, far


def test_a_socket_of_outside_is_not_received(
    connected: tuple[socket.socket, socket.socket],
    workload: Workload,
    inside: Actor,
    tmp_path: Path,
) -> None:
    near, far = connected
    with Actor() as outside:
        number = passed(near.fileno(), outside, tmp_path / "s").value
        assert outside.act("send", number, "outside") == Outcome("7")
        assert far.recv(16) == b"outside"
    assert passed(near.fileno(), inside, tmp_path / "s") == Outcome("nothing")
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.recv(16)
    (event,) = workload.fresh_events("guard")
    assert (event["decision"], event["reason"]) == ("denied", "foreign")
    assert event["object"] == {
        "guard": "descriptors", "operation": "receive", "detail": "ipv4", "target": None,
    }  # fmt: skip


def test_a_socket_of_another_workload_is_not_received(lictor: Lictor, tmp_path: Path) -> None:
    """By pidfd_getfd, where the guard against tracing is open."""
    open_ = "guards: {allow: [trace]}"
    with (
        lictor.confined(open_) as one,
        lictor.confined(open_) as other,
        actors(one, one, other) as (actor, peer, stranger),
    ):
        for holder, allowed in ((peer, True), (stranger, False)):
            made = holder.number("socket", socket.AF_INET, socket.SOCK_DGRAM, 0)
            outcome = actor.act("take-descriptor", holder.pid, made)
            assert outcome.errno == (None if allowed else errno.EPERM)


@pytest.mark.parametrize("kind", ["file", "pipe", "memory", "terminal", "null", "unix", "netlink"])
def test_what_is_no_way_out_is_received(
    kind: str, inside: Actor, workload: Workload, tmp_path: Path
) -> None:
    made: list[int] = []
    match kind:
        case "file":
            made = [os.open("/etc/hostname", os.O_RDONLY)]
        case "pipe":
            made = list(os.pipe())
        case "memory":
            made = [os.memfd_create("memory")]
        case "terminal":
            made = list(os.openpty())
        case "null":
            made = [os.open("/dev/null", os.O_RDWR)]
        case "unix":
            made = [socket.socket(socket.AF_UNIX).detach()]
        case "netlink":
            made = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).detach()]
    try:
        outcome = passed(made[-1], inside, tmp_path / "s")
        assert outcome.value not in (None, "nothing")
        assert workload.fresh_events("guard") == []
    finally:
        for descriptor in made:
            os.close(descriptor)


def test_a_gpu_that_is_passed_in_is_judged_as_if_opened(
    gpus: dict[str, CountedNode], confine: Confine, tmp_path: Path
) -> None:
    descriptor = os.open(gpus["nvidia0"].path, os.O_RDWR)
    try:
        for devices, allowed in (("none", False), ("all", True)):
            workload = confine(f"devices: {{allow: [standard], gpus: {devices}}}")
            with Actor(workload) as actor:
                outcome = passed(descriptor, actor, tmp_path / "s")
            assert (outcome.value != "nothing") == allowed
            (event,) = [e for e in workload.events(kind="device")
                        if e["object"]["class"] == "nvidia"]  # fmt: skip
            assert event["decision"] == ("allowed" if allowed else "denied")
    finally:
        os.close(descriptor)


def test_nobody_enters_with_a_socket_of_outside(
    connected: tuple[socket.socket, socket.socket], workload: Workload, confine: Confine
) -> None:
    near, far = connected
    workload.mark()
    with pytest.raises(PermissionError):
        Actor(workload, descriptors=(near.fileno(),))
    (event,) = workload.fresh_events("guard")
    assert event["reason"] == "foreign"
    assert event["object"]["operation"] == "inherit"
    # Closed on exec: it does not come in.
    with Actor(workload) as actor:
        assert actor.act("send", near.fileno(), "x").errno == errno.EBADF
    for spec in ("guards: {allow: [descriptors]}", "mode: audit"):
        with Actor(confine(spec), descriptors=(near.fileno(),)) as actor:
            assert actor.act("send", near.fileno(), "hello") == Outcome("5")
            assert far.recv(16) == b"hello"


def test_high_descriptors_are_seen(
    connected: tuple[socket.socket, socket.socket], workload: Workload
) -> None:
    near, _ = connected
    high = 200
    os.dup2(near.fileno(), high)
    try:
        with pytest.raises(PermissionError):
            Actor(workload, descriptors=(high,))
    finally:
        os.close(high)
