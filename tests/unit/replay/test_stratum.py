# SPDX-License-Identifier: Apache-2.0
"""The pool's protocol, and the real miner against it."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.replay import mirror, stratum
from tests.replay.stratum import Job, PoolSession

EXTRANONCE2 = "00000001"
# The header of Bitcoin's block 1, as any explorer shows it.
BLOCK_ONE = bytes.fromhex(
    "010000006fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000"
    "982051fd1e4ba744bbbe680e1fee14677ba1a3c3540bf7b1cdb606e857233e0e"
    "61bc6649ffff001d01e36299"
)


def ask(session: PoolSession, method: str, *parameters: str) -> list[dict[str, Any]]:
    line = json.dumps({"id": 7, "method": method, "params": parameters}).encode() + b"\n"
    return [json.loads(reply) for reply in session.receive(line)]


def opened() -> PoolSession:
    session = PoolSession(extranonce1="0000000a")
    ask(session, "mining.subscribe", "test")
    ask(session, "mining.authorize", "rome", "x")
    return session


def solve(session: PoolSession) -> str:
    for number in range(1 << 20):
        nonce = f"{number:08x}"
        header = session.job.header(session.extranonce1, EXTRANONCE2, session.job.time, nonce)
        if stratum.meets(header, session.difficulty):
            return nonce
    raise AssertionError("no share found")


def submit(session: PoolSession, **changed: str) -> dict[str, Any]:
    fields = {
        "worker": "rome",
        "job": session.job.identifier,
        "extranonce2": EXTRANONCE2,
        "time": session.job.time,
        "nonce": "00000000",
        **changed,
    }
    return ask(session, "mining.submit", *fields.values())[0]


def test_a_real_block_meets_difficulty_one() -> None:
    assert stratum.meets(BLOCK_ONE, 1.0)
    assert not stratum.meets(BLOCK_ONE[:-1] + b"\x00", 1.0)


def test_a_header_has_eighty_bytes() -> None:
    job = Job()
    assert len(job.header("0000000a", EXTRANONCE2, job.time, "00000000")) == 80


def test_subscribing_gives_an_extranonce_and_authorising_a_job() -> None:
    session = PoolSession(extranonce1="0000000a")
    (subscribed,) = ask(session, "mining.subscribe", "test")
    assert subscribed["result"][1:] == ["0000000a", stratum.EXTRANONCE2_SIZE]
    authorised, difficulty, job = ask(session, "mining.authorize", "rome", "x")
    assert authorised["result"] is True
    assert difficulty["params"] == [stratum.DIFFICULTY]
    assert job["method"] == "mining.notify"
    assert [fact["event"] for fact in session.facts] == ["subscribe", "authorize"]


def test_a_share_is_accepted_once() -> None:
    session = opened()
    nonce = solve(session)
    assert submit(session, nonce=nonce)["result"] is True
    assert submit(session, nonce=nonce)["error"][1] == "duplicate share"
    assert [fact["event"] for fact in session.facts[-2:]] == ["share accepted", "share refused"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"worker": "stranger"}, "unauthorized worker"),
        ({"job": "2"}, "job not found"),
        ({"extranonce2": "01"}, "extranonce2 has the wrong size"),
        ({"nonce": "zz"}, "non-hexadecimal"),
        ({"nonce": "01"}, "not four bytes"),
        ({"nonce": "00000000"}, "low difficulty share"),
    ],
)
def test_a_wrong_share_is_refused_with_its_reason(changed: dict[str, str], reason: str) -> None:
    assert reason in submit(opened(), **changed)["error"][1]


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{}\n", b"\xff\xfe\n", b'"x"\n', b"{" * 9000])
def test_a_malformed_line_is_answered_and_recorded(line: bytes) -> None:
    session = PoolSession(extranonce1="0000000a")
    (reply,) = session.receive(line)
    assert json.loads(reply)["error"][1] == "malformed request"
    assert session.facts == [{"event": "malformed"}]


def test_a_miner_that_skips_subscribing_gets_no_job() -> None:
    (reply,) = ask(PoolSession(extranonce1="0000000a"), "mining.authorize", "rome", "x")
    assert reply["error"][1] == "not subscribed"


@pytest.fixture(scope="module")
def miner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("miner") / "miner"
    source = mirror.HERE / "programs" / "miner.c"
    flags = ["-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", built, source], check=True)
    return built


def test_the_real_miner_finds_a_share_that_the_pool_accepts(miner: Path) -> None:
    session = PoolSession(extranonce1="0000000a")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        process = subprocess.Popen([miner, "127.0.0.1", port, "rome"], stdout=subprocess.PIPE)
        connection, _peer = listening.accept()
        with process, connection, connection.makefile("rb") as lines:
            while line := lines.readline():
                connection.sendall(b"".join(session.receive(line)))
    assert process.returncode == 0
    assert session.facts[-1] == {"event": "share accepted", "worker": "rome", "reason": None}


def test_a_miner_without_a_pool_says_so(miner: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
        done = subprocess.run([miner, "127.0.0.1", port, "rome"], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.decode() == f"miner: pool 127.0.0.1:{port}: Connection refused\n"
