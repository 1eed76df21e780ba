# SPDX-License-Identifier: Apache-2.0
"""Which control plane is asked and as whom, and what a person reads if it refuses."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from enforcer import paths
from enforcer.cli import api
from enforcer.cli.exits import EXIT_FAILED, EXIT_UNAVAILABLE
from enforcer.cli.main import main
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane

ASKING = [
    ["nodes"], ["incidents"], ["incidents", "x"], ["incidents", "reopen", "x"], ["episodes"],
    ["episodes", "x"], ["episodes", "open", "x"], ["episodes", "close", "x"], ["token", "list"],
    ["token", "create", "--name", "n", "--role", "viewer"], ["token", "revoke", "x"],
    ["policy", "history", "x"], ["policy", "rollback", "x", "1"],
]  # fmt: skip


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_no_control_plane_is_status_3_and_what_to_do(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == EXIT_UNAVAILABLE
    output = capsys.readouterr()
    assert output.out == ""
    first, second = output.err.splitlines()
    assert first == f"lictor: unix:{paths.CONTROLPLANE_SOCKET}: No such file or directory"
    assert second.endswith("lictor up starts one, --api names another")


def test_a_socket_that_nobody_serves_is_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    paths.CONTROLPLANE_SOCKET.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(paths.CONTROLPLANE_SOCKET))
    for words in (["nodes"], ["policy", "list"]):
        assert main(words) == EXIT_UNAVAILABLE
        assert "Connection refused" in capsys.readouterr().err


def test_an_address_is_given_or_set(
    controlplane: ServedControlPlane,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = f"http://127.0.0.1:{controlplane.port}"
    monkeypatch.setattr(paths, "CONTROLPLANE_SOCKET", tmp_path / "absent.sock")
    assert main(["nodes", "--api", here]) == 0
    assert main(["nodes"]) == EXIT_UNAVAILABLE
    monkeypatch.setenv(api.ADDRESS, here)
    assert main(["nodes"]) == 0
    # What stands on the command line counts more.
    assert main(["nodes", "--api", f"unix:{tmp_path}/other.sock"]) == EXIT_UNAVAILABLE
    assert "other.sock" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("localhost:80", "'localhost:80' is not unix:PATH or https://HOST:PORT"),
        ("http://10.0.0.1:80", "a token would cross the network in the clear"),
        ("unix:api.sock", "the path of a Unix socket starts with '/'"),
    ],
)
def test_an_address_that_is_none_is_refused_by_name(
    address: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nodes", "--api", address]) == EXIT_FAILED
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff\xfe"])
def test_a_file_without_a_token_is_named(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "odd.token"
    file.write_bytes(content)
    assert main(["nodes", "--token-file", str(file)]) == EXIT_FAILED
    assert capsys.readouterr().err == f"lictor: token file {file}: holds no token\n"


@pytest.mark.parametrize(
    ("option", "file"), [("--token-file", "absent.token"), ("--ca-file", "absent.pem")]
)
def test_a_file_that_is_not_there_is_named(
    option: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nodes", "--api", "https://localhost:1", option, f"/{file}"]) == EXIT_FAILED
    assert file in capsys.readouterr().err


def test_who_has_no_token_is_told_how_to_come_by_one(
    controlplane: ServedControlPlane,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(api.TOKEN_FILE)
    assert main(["nodes", "--api", f"http://127.0.0.1:{controlplane.port}"]) == EXIT_FAILED
    assert "give --token-file FILE" in capsys.readouterr().err


def test_a_role_that_may_not_is_status_1(
    controlplane: ServedControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    viewer = str(controlplane.token_file("viewer"))
    assert main(["token", "list", "--token-file", viewer]) == EXIT_FAILED
    assert "viewer" in capsys.readouterr().err
    assert main(["nodes", "--token-file", viewer]) == 0


def test_every_fault_has_a_line(
    controlplane: ServedControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["token", "create", "--name", "n" * 201, "--role", "node", "--for", "0d"]
    with pytest.raises(SystemExit):
        main(words)
    assert "'0d' is no time such as" in capsys.readouterr().err
    assert main(words[:-2]) == EXIT_FAILED
    first, second = capsys.readouterr().err.splitlines()
    assert first == "lictor: token: is not sent"
    assert second.startswith("  name: ")
    assert main(["token", "create", "--name", "n", "--role", "node"]) == EXIT_FAILED
    assert capsys.readouterr().err.splitlines()[1].startswith("  node: is missing")


def test_what_a_refusal_quotes_cannot_fool_a_terminal(
    controlplane: ServedControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["episodes", "\x1b[2Jx"]) == EXIT_FAILED
    errors = capsys.readouterr().err
    assert "\x1b" not in errors
    assert "\\x1b[2Jx: is not known" in errors
