# SPDX-License-Identifier: Apache-2.0
"""The client gives a reply, a refusal by its code, or says that nobody answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.wire import FrameReader, RequestError, encode, failure, success
from enforcer.client import EnforcerClient, EnforcerUnavailable

Answer = Callable[[dict[str, Any]], bytes]


class Agent:
    """Answers each request with what `answer` makes of it; empty bytes hang up."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.requests: list[dict[str, Any]] = []
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        frames = FrameReader()
        with connection:
            while data := connection.recv(65536):
                for message in frames.feed(data):
                    self.requests.append(message)
                    reply = self._answer(message)
                    if not reply:
                        return
                    for byte in reply:
                        connection.sendall(bytes([byte]))

    def close(self) -> None:
        self._thread.join(10)
        self._socket.close()


def asked(path: Path, answer: Answer, **fields: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(the reply, what the agent got) of one request."""
    agent = Agent(path, answer)
    try:
        with EnforcerClient(path) as client:
            reply = client.request("status", **fields)
    finally:
        agent.close()
    return reply, agent.requests


def test_a_request_gets_its_reply(tmp_path: Path) -> None:
    reply, requests = asked(
        tmp_path / "s", lambda _: encode(success(node="n", rows=["x"] * 500)), all=True
    )
    assert reply["node"] == "n"
    assert len(reply["rows"]) == 500
    assert requests == [{"version": 1, "operation": "status", "all": True}]


@pytest.mark.parametrize(
    ("reply", "code", "text"),
    [
        (failure("inside_call", "a process of a tool call cannot"), "inside_call", "a process of"),
        ({"ok": False}, "unknown", "no reason given"),
        ({"ok": False, "error": {}}, "unknown", "no reason given"),
        ({}, "unknown", "no reason given"),
    ],
)
def test_a_refusal_is_an_error_with_its_code(
    reply: dict[str, Any], code: str, text: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=text) as caught:
        asked(tmp_path / "s", lambda _: encode(reply))
    assert caught.value.code == code


def test_an_agent_that_hangs_up_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(EnforcerUnavailable, match="the agent closed the connection on status"):
        asked(tmp_path / "s", lambda _: b"")


def test_several_requests_share_a_connection(tmp_path: Path) -> None:
    agent = Agent(tmp_path / "s", lambda message: encode(success(n=message["n"])))
    with EnforcerClient(tmp_path / "s") as client:
        assert [client.request("echo", n=n)["n"] for n in range(5)] == list(range(5))
    agent.close()


def test_nobody_there_says_how_to_start_it(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with pytest.raises(EnforcerUnavailable, match="no agent answers; start it: lictor up"):
        EnforcerClient(path)
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(path))
    left.close()
    with pytest.raises(EnforcerUnavailable, match=f"{path}: no agent answers"):
        EnforcerClient(path)


def test_a_reply_that_never_comes_is_an_error_and_no_hang(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        with EnforcerClient(tmp_path / "s", timeout=0.2) as client, pytest.raises(OSError):  # noqa: PT011
            client.request("status")
