# SPDX-License-Identifier: Apache-2.0
"""The process: what it keeps through kill -9, where it listens, how it starts and ends."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import stat
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.api import samples
from tests.api.process import Process, ask, self_signed
from tests.api.served import free_port

YAML = {"Content-Type": "application/yaml"}
MSGPACK = {"Content-Type": "application/msgpack"}
EVENTS = f"/v1/nodes/{samples.NODE}/events"
Begin = Callable[..., Process]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Makes processes that are ended when the test is over."""
    made: list[Process] = []

    def one(**settings: str) -> Process:
        made.append(Process(tmp_path, **settings))
        return made[-1]

    yield one
    for process in made:
        process.close()


class Acknowledged:
    """Everything that a control plane said it has."""

    def __init__(self) -> None:
        self.events = 0
        self.revisions: dict[int, str] = {}
        self.episodes: set[str] = set()

    async def write(self, process: Process, seconds: float) -> None:
        """Write from three sides until the process is gone."""
        async with await process.client() as session:
            writers = [self._ship(session), self._put(session), self._bind(session)]
            tasks = [asyncio.create_task(self._until_gone(work)) for work in writers]
            await asyncio.sleep(seconds)
            process.end(signal.SIGKILL)
            await asyncio.gather(*tasks)

    async def _until_gone(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except (aiohttp.ClientError, ConnectionError):
            # Killed in the middle of it: nothing was acknowledged.
            return

    async def _ship(self, session: aiohttp.ClientSession) -> None:
        while True:
            first = self.events + 1
            sent = samples.batch(*map(samples.event, range(first, first + 50)))
            result = await ask(session, "POST", EVENTS, data=sent, headers=MSGPACK)
            # What was stored and not acknowledged before a kill comes again, and counts once.
            assert result["accepted"] + result["duplicates"] == 50
            self.events += 50

    async def _put(self, session: aiohttp.ClientSession) -> None:
        while True:
            text = samples.policy(port=random.randint(1, 65535))
            result = await ask(session, "PUT", "/v1/policies/rl", data=text, headers=YAML)
            self.revisions[result["revision"]] = text

    async def _bind(self, session: aiohttp.ClientSession) -> None:
        while True:
            name = f"episode-{len(self.episodes)}"
            await ask(session, "PUT", f"/v1/episodes/{name}", json={})
            self.episodes.add(name)

    async def check(self, process: Process) -> None:
        """Fail if anything is not there, or is there twice."""
        async with await process.client() as session:
            seen: list[int] = []
            after = 0
            while True:
                path = f"/v1/events?limit=1000&after={after}"
                page = await ask(session, "GET", path)
                if not page["events"]:
                    break
                seen += [event["event"]["sequence"] for event in page["events"]]
                after = page["next"]
            assert len(seen) == len(set(seen))
            assert set(range(1, self.events + 1)) <= set(seen)
            [incident] = (await ask(session, "GET", "/v1/incidents"))["incidents"]
            assert incident["denied"] == len(seen)
            found = await ask(session, "GET", "/v1/policies/rl/revisions")
            texts = {row["revision"]: row["text"] for row in found["revisions"]}
            assert self.revisions.items() <= texts.items()
            names = {row["id"] for row in (await ask(session, "GET", "/v1/episodes"))["episodes"]}
            assert self.episodes <= names


def test_kill_9_loses_nothing_that_was_acknowledged(begin: Begin) -> None:
    async def work() -> None:
        process = begin()
        kept = Acknowledged()
        for _ in range(4):
            process.start()
            if kept.events:
                await kept.check(process)
            await kept.write(process, random.uniform(0.2, 1.2))
        process.start()
        await kept.check(process)
        assert kept.events > 500
        assert len(kept.revisions) > 5
        assert len(kept.episodes) > 5

    asyncio.run(work())


def test_a_signal_ends_it_in_order(begin: Begin) -> None:
    process = begin()
    process.start()
    assert stat.S_IMODE(process.socket.stat().st_mode) == 0o666
    assert stat.S_IMODE(process.socket.parent.stat().st_mode) == 0o755
    assert process.end(signal.SIGTERM) == 0
    process.start()
    assert process.end(signal.SIGINT) == 0
    assert "Traceback" not in process.log()


def test_a_signal_sends_long_polls_home(begin: Begin) -> None:
    async def work() -> None:
        process = begin()
        process.start()
        async with await process.client() as session:
            path = "/v1/nodes/node-1/policies?after=0&wait=60"
            poll = asyncio.create_task(session.get(path))
            # The poll has to be there before the signal is.
            await asyncio.sleep(0.5)
            started = time.monotonic()
            assert await asyncio.to_thread(process.end, signal.SIGTERM) == 0
            assert time.monotonic() - started < 4
            async with await poll as response:
                assert response.status == 200

    asyncio.run(work())


def test_it_says_ready_and_alive_and_stopping(begin: Begin, tmp_path: Path) -> None:
    process = begin()
    heard = tmp_path / "manager"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(heard))
        manager.settimeout(30)
        process.spawn(NOTIFY_SOCKET=str(heard), WATCHDOG_USEC="400000")
        states = [manager.recv(100) for _ in range(4)]
        assert states[0] == b"READY=1"
        assert set(states[1:]) == {b"WATCHDOG=1"}
        process.end(signal.SIGTERM)
        last = [b""]
        while last[-1] != b"STOPPING=1":
            last.append(manager.recv(100))


@pytest.mark.parametrize(
    "address", ["0.0.0.0:8420", "[::]:8420", "192.0.2.1:8420", "[::ffff:7f00:1]:8420"]
)
def test_it_refuses_to_listen_to_other_machines_in_the_clear(address: str, begin: Begin) -> None:
    status, said = begin(listen=f"127.0.0.1:{free_port()},{address}").fail()
    assert status == 2
    assert said.startswith(f"lictor: setting LICTOR_API_LISTEN: {address} is reached from other")
    assert "set LICTOR_API_TLS_CERTIFICATE and LICTOR_API_TLS_KEY" in said
    assert len(said.splitlines()) == 1


def test_tls_serves_other_machines(begin: Begin, tmp_path: Path) -> None:
    async def work() -> None:
        certificate, key, trusting = self_signed(tmp_path)
        port = free_port()
        process = begin(
            listen=f"0.0.0.0:{port}", tls_certificate=str(certificate), tls_key=str(key)
        )
        process.start()
        async with aiohttp.ClientSession(f"https://127.0.0.1:{port}") as session:
            async with session.get("/healthz", ssl=trusting) as response:
                assert (response.status, await response.text()) == (200, "ok\n")
            async with session.get("/v1/nodes", ssl=trusting) as response:
                assert response.status == 401
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get("/healthz")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get("/healthz")

    asyncio.run(work())


@pytest.mark.parametrize(
    ("settings", "status", "said"),
    [
        ({"listen": "example.org:80"}, 2, "listen on an address, not on a name"),
        ({"listen": "unix:api.sock"}, 2, "the path of a Unix socket starts with '/'"),
        ({"retention_days": "never"}, 2, "LICTOR_API_RETENTION_DAYS: 'never'"),
        ({"log_level": "loud"}, 2, "LICTOR_API_LOG_LEVEL: 'loud'"),
        ({"tls_key": "/tls.key"}, 2, "LICTOR_API_TLS_CERTIFICATE is missing"),
        ({"tls_key": "/no.key", "tls_certificate": "/no.crt"}, 1, "/no.crt"),
        ({"state": "/proc/nowhere"}, 1, "/proc/nowhere"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_without_a_traceback(
    settings: dict[str, str], status: int, said: str, begin: Begin
) -> None:
    found, text = begin(**settings).fail()
    assert (found, said in text, "Traceback" in text) == (status, True, False), text


def test_a_broken_certificate_is_named(begin: Begin, tmp_path: Path) -> None:
    certificate, key, _ = self_signed(tmp_path)
    certificate.write_text("no certificate")
    status, said = begin(tls_certificate=str(certificate), tls_key=str(key)).fail()
    assert (status, f"TLS certificate {certificate}" in said) == (1, True)
    assert "Traceback" not in said


def test_a_file_that_is_no_database_is_named(begin: Begin, tmp_path: Path) -> None:
    file = tmp_path / "controlplane.db"
    file.write_text("not a database, and long enough to be read as one " * 100)
    status, said = begin(state=str(tmp_path)).fail()
    assert (status, f"database {file}" in said, "Traceback" in said) == (1, True, False)


def test_of_two_with_one_state_the_second_ends(begin: Begin) -> None:
    first = begin()
    first.start()
    status, said = begin(listen=f"127.0.0.1:{free_port()}").fail()
    assert (status, "controlplane.pid: another control plane runs" in said) == (4, True)


def test_a_socket_that_is_served_is_not_taken_away(begin: Begin, tmp_path: Path) -> None:
    first = begin()
    first.start()
    second = begin(listen=f"unix:{first.socket}", state=str(tmp_path / "other"))
    status, said = second.fail()
    assert (status, "another process serves this socket" in said) == (1, True)
    first.end(signal.SIGKILL)
    # Its socket is still there, and nobody behind it.
    assert first.socket.is_socket()
    first.start()


def test_a_port_that_is_taken_is_named(begin: Begin) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, said = begin(listen=f"127.0.0.1:{port}").fail()
        assert (status, str(port) in said, "Traceback" in said) == (1, True, False)
