# SPDX-License-Identifier: Apache-2.0
"""Unix sockets by who made them: a workload's own are free, all others are reached by rule only."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from enforcer import cgroups, paths
from tests.kernel.guest.attempts import sockets
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.programs import compiled, wait_until
from tests.kernel.guest.world import Lictor, Workload, denied, expected, facts

WORD = sockets.WORD.decode()
TYPES = {
    "stream": socket.SOCK_STREAM,
    "datagram": socket.SOCK_DGRAM,
    "seqpacket": socket.SOCK_SEQPACKET,
}
# What reaches a socket, and of which type that is.
WAYS = {
    "stream": ("stream", ("reach", "stream")),
    "seqpacket": ("seqpacket", ("reach", "seqpacket")),
    "datagram": ("datagram", ("reach", "datagram")),
    "send": ("datagram", ("send",)),
}


@dataclass
class Server:
    """A socket of the host, made by this process; what arrives waits to be asked for."""

    type: str
    name: str

    def __post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, TYPES[self.type])
        self._socket.bind(self.name.replace("@", "\0", 1))
        if self.type != "datagram":
            self._socket.listen(16)
        self._socket.setblocking(False)

    def words(self) -> list[str]:
        """What arrived since the last call; a connection without a word is an empty one."""
        found = []
        try:
            while True:
                if self.type == "datagram":
                    found.append(self._socket.recv(64).decode())
                else:
                    with self._socket.accept()[0] as connection:
                        found.append(connection.recv(64).decode())
        except BlockingIOError:
            return found

    def close(self) -> None:
        self._socket.close()
        if not self.name.startswith("@"):
            Path(self.name).unlink()


@pytest.fixture
def folder() -> Path:
    """With a short name: those of sockets have 108 bytes."""
    return Path(tempfile.mkdtemp(prefix="unix-", dir="/tmp"))


@pytest.fixture(params=["path", "abstract"])
def server(request: pytest.FixtureRequest, way: str, folder: Path) -> Iterator[Server]:
    name = f"{'@' if request.param == 'abstract' else ''}{folder}/host"
    made = Server(WAYS[way][0], name)
    yield made
    made.close()


def program(*words: str) -> None:
    """attempts/local.c, in a process of its own: what it starts is the workload's."""
    sockets.program(compiled("local"), *words)


def told(workload: Workload) -> list[dict[str, object]]:
    return [facts(event) for event in workload.fresh_events("unix")]


@pytest.mark.parametrize("way", WAYS)
def test_socket_of_the_host_is_closed(way: str, server: Server, confine: Confine) -> None:
    type_, words = WAYS[way]
    assert attempt(program, *words, server.name) == Outcome()
    assert server.words() == [WORD]

    workload = confine("unix: none")
    assert denied(workload.run(program, *words, server.name))

    assert server.words() == []
    assert told(workload) == [
        expected(workload, "unix", "denied", "not_allowed", path=server.name, type=type_, peer=None)
    ]


@pytest.mark.parametrize("way", WAYS)
def test_socket_that_the_policy_names_is_open(way: str, server: Server, confine: Confine) -> None:
    type_, words = WAYS[way]
    for rule in (server.name, server.name.removesuffix("host") + "**"):
        workload = confine(f'unix: {{allow: ["/run/other", "{rule}"]}}')
        assert workload.run(program, *words, server.name) == Outcome()
        assert server.words() == [WORD]
        assert told(workload) == [
            expected(
                workload, "unix", "allowed", "rule", rule="unix.allow[1]",
                path=server.name, type=type_, peer=None,
            )
        ]  # fmt: skip


@pytest.mark.parametrize("way", ["stream", "send"])
def test_name_is_the_whole_name(way: str, server: Server, confine: Confine) -> None:
    for rule in (server.name[:-1], server.name + "x", server.name + "/**"):
        workload = confine(f'unix: {{allow: ["{rule}"]}}')
        assert denied(workload.run(program, *WAYS[way][1], server.name))
    assert server.words() == []


@pytest.mark.parametrize("way", ["stream"])
def test_any_lets_everything_through(way: str, server: Server, confine: Confine) -> None:
    workload = confine("unix: any")
    assert workload.run(program, *WAYS[way][1], server.name) == Outcome()
    assert server.words() == [WORD]
    (event,) = told(workload)
    assert (event["reason"], event["rule"]) == ("any", "unix")


@pytest.mark.parametrize("way", ["stream", "send"])
def test_audit_mode_stops_nothing(way: str, server: Server, confine: Confine) -> None:
    workload = confine("mode: audit\nunix: none")
    assert workload.run(program, *WAYS[way][1], server.name) == Outcome()
    assert server.words() == [WORD]
    (event,) = told(workload)
    assert (event["decision"], event["reason"]) == ("audited", "not_allowed")


@pytest.mark.parametrize("way", ["stream"])
def test_grant_opens_a_socket(way: str, server: Server, confine: Confine) -> None:
    spec = f'unix: none\ngrants: {{trainer: {{unix: {{allow: ["{server.name}"]}}}}}}'
    assert denied(confine(spec).run(program, *WAYS[way][1], server.name))
    assert server.words() == []
    holder = confine(spec, grants=["trainer"])
    assert holder.run(program, *WAYS[way][1], server.name) == Outcome()
    assert server.words() == [WORD]


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("form", ["path", "abstract"])
def test_sockets_of_the_workload_are_free(
    type_: str, form: str, folder: Path, confine: Confine
) -> None:
    workload = confine("unix: none")
    name = f"{'@' if form == 'abstract' else ''}{folder}/own"
    assert workload.run(program, "own", type_, name) == Outcome()
    assert told(workload) == []


def test_pairs_and_passed_descriptors_are_free(confine: Confine) -> None:
    workload = confine("unix: none")
    assert workload.run(program, "pairs") == Outcome()
    assert told(workload) == []


def test_socket_that_is_not_there_fails_as_ever(folder: Path, confine: Confine) -> None:
    """As glibc looks for nscd."""
    workload = confine("unix: none")
    outside = attempt(program, "reach", "stream", f"{folder}/nobody")
    assert workload.run(program, "reach", "stream", f"{folder}/nobody") == outside
    assert outside.errno is not None
    assert told(workload) == []


def serving(workload: Workload, name: str, below: str = "") -> subprocess.Popen[str]:
    """A server in the workload, listening already; `below`: in a cgroup of that name there."""
    path = workload.path + below

    def enter() -> None:
        cgroups.folder(path).mkdir(exist_ok=True)
        cgroups.enter(path)

    words = [compiled("local"), "serve", name]
    return ready(subprocess.Popen(words, stdout=subprocess.PIPE, text=True, preexec_fn=enter))


def ready(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert output(process).readline() == "ready\n"
    return process


def output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def test_socket_of_another_workload_is_closed(folder: Path, confine: Confine) -> None:
    name = f"{folder}/other"
    one, other = confine("unix: none"), confine("unix: none")
    with serving(other, name) as server:
        assert denied(one.run(program, "reach", "stream", name))
        (event,) = told(one)
        assert (event["path"], event["peer"]) == (name, other.path)
        assert server.poll() is None
        assert other.run(program, "reach", "stream", name) == Outcome()
        assert output(server).read() == f"{WORD}\n"
        assert server.wait() == 0


def test_rule_opens_a_socket_of_another_workload(folder: Path, confine: Confine) -> None:
    name = f"{folder}/shared"
    one, other = confine(f"unix: {{allow: [{name}]}}"), confine("unix: none")
    with serving(other, name) as server:
        assert one.run(program, "reach", "stream", name) == Outcome()
        assert output(server).read() == f"{WORD}\n"


def test_host_reaches_a_workloads_socket(folder: Path, confine: Confine) -> None:
    name = f"{folder}/own"
    with serving(confine("unix: none"), name) as server:
        assert attempt(program, "reach", "stream", name) == Outcome()
        assert output(server).read() == f"{WORD}\n"


def test_socket_outlives_the_cgroup_in_which_it_was_made(folder: Path, confine: Confine) -> None:
    workload, name = confine("unix: none"), f"{folder}/own"
    with serving(workload, name, "/sub") as server:
        (cgroups.folder(workload.path) / "cgroup.procs").write_text(str(server.pid))
        (cgroups.folder(workload.path) / "sub").rmdir()
        assert workload.run(program, "reach", "stream", name) == Outcome()
        assert output(server).read() == f"{WORD}\n"


def test_connected_datagram_socket_is_judged_by_the_newest_revision(
    lictor: Lictor, folder: Path, confine: Confine
) -> None:
    server = Server("datagram", f"{folder}/host")
    workload = confine("unix: any")
    for unix, status in (("any", 0), ("none", 1)):
        with subprocess.Popen(
            [compiled("local"), "later", server.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: cgroups.enter(workload.path),
        ) as client:  # fmt: skip
            ready(client)
            lictor.policy(f"unix: {unix}", name=workload.policy.name)
            client.communicate("go\n")
            assert client.returncode == status
        assert server.words() == ([] if status else [WORD])
    server.close()
    # The connects and the denied send; an allowed send on a connected socket is no event.
    assert [event["decision"] for event in told(workload)] == ["allowed", "allowed", "denied"]


def test_lictors_calls_socket_is_open_to_all(confine: Confine) -> None:
    workload = confine("unix: none")
    assert workload.run(program, "reach", "stream", str(paths.CALLS_SOCKET)) == Outcome()
    assert denied(workload.run(program, "reach", "stream", str(paths.ADMIN_SOCKET)))
    assert [event["path"] for event in told(workload)] == [str(paths.ADMIN_SOCKET)]


def test_calls_socket_of_a_workloads_making_is_not(folder: Path, confine: Confine) -> None:
    """A socket of that very name, bound below a root of the workload's own."""
    one, other = confine("unix: none"), confine("unix: none")
    inside = folder / str(paths.CALLS_SOCKET.parent).lstrip("/")
    inside.mkdir(parents=True)

    def enter() -> None:
        cgroups.enter(other.path)

    script = (
        "import os, socket\n"
        f"os.chroot({str(folder)!r})\n"
        "server = socket.socket(socket.AF_UNIX)\n"
        f"server.bind({str(paths.CALLS_SOCKET)!r})\n"
        "server.listen()\n"
        "print('ready', flush=True)\n"
        "print(server.accept()[0].recv(64).decode())\n"
    )
    with subprocess.Popen(
        ["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE, text=True,
        preexec_fn=enter,
    ) as server:  # fmt: skip
        ready(server)
        name = str(inside / paths.CALLS_SOCKET.name)
        assert denied(one.run(program, "reach", "stream", name))
        assert other.run(program, "reach", "stream", name) == Outcome()
        assert output(server).read() == f"{WORD}\n"


def test_programs_of_the_host_work_and_its_log_by_rule(confine: Confine) -> None:
    """What they look for and do not find, they do without; the journal is bound to another name."""
    workload = confine("unix: none")
    for words in (["id"], ["getent", "passwd", "nobody"], ["ls", "-l", "/"]):
        assert workload.run(sockets.program, *words).errno is None
    assert workload.run(sockets.program, "logger", "word").errno is not None

    workload = confine("unix: {allow: [/run/systemd/journal/dev-log]}")
    word = f"word-{workload.id}"
    assert workload.run(sockets.program, "logger", word) == Outcome("")
    assert {event["path"] for event in told(workload)} == {"/run/systemd/journal/dev-log"}
    wait_until(
        lambda: word in subprocess.run(
            ["journalctl", "--boot", "--output=cat"], capture_output=True, text=True, check=True
        ).stdout,
        "the word in the journal",
    )  # fmt: skip
