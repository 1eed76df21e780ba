# SPDX-License-Identifier: Apache-2.0
"""Tokens in their written form, and who the other end of a socket is."""

from __future__ import annotations

import os
import socket

import pytest

from controlplane import security
from controlplane.contract.records import Token
from controlplane.security import NotAuthenticated, bearer_token, new_token, token_hash

STORED = Token(
    id="a" * 12, name="ci", role="node", node="node-1", created=1.0, expires=10.0, revoked=None,
    last_used=None,
)  # fmt: skip


def test_tokens_are_of_one_form_and_never_twice_the_same() -> None:
    made = [new_token() for _ in range(500)]
    assert len({number for number, _ in made}) == len({text for _, text in made}) == 500
    for number, text in made:
        assert text.startswith(f"lictor_{number}_")
        assert bearer_token(f"Bearer {text}") == bearer_token(f"bearer  {text} ") == text
        assert text not in token_hash(text)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer x", "lictor_" + "a" * 12 + "_" + "b" * 43, "Bearer lictor_a_b",
     "Basic lictor_" + "a" * 12 + "_" + "b" * 43, "Bearer lictor_" + "a" * 12 + "_" + "é" * 43,
     "Bearer lictor_" + "a" * 12 + "_" + "b" * 44, "Bearer lictor_" + "A" * 12 + "_" + "b" * 43],
)  # fmt: skip
def test_a_header_that_holds_no_token_is_refused(header: str) -> None:
    with pytest.raises(NotAuthenticated):
        bearer_token(header)


def test_a_token_stands_for_its_role_and_node_until_it_expires() -> None:
    found = security.principal_of(STORED, 9.9)
    assert (found.role, found.node) == ("node", "node-1")
    assert found.name == "ci (token aaaaaaaaaaaa)"
    with pytest.raises(NotAuthenticated, match="token aaaaaaaaaaaa has expired"):
        security.principal_of(STORED, 10.0)


def test_a_revoked_or_unknown_token_stands_for_nobody() -> None:
    with pytest.raises(NotAuthenticated, match="was revoked"):
        security.principal_of(STORED.model_copy(update={"revoked": 5.0}), 1.0)
    with pytest.raises(NotAuthenticated, match="is not known"):
        security.principal_of(None, 1.0)


def test_only_roots_end_of_a_unix_socket_is_root(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs, socket.socket() as tcp:
        monkeypatch.setattr(security, "ROOT", os.getuid())
        assert security.local_root(ours) == os.getpid()
        assert security.local_root(tcp) is None
        assert security.local_root(None) is None
        monkeypatch.setattr(security, "ROOT", os.getuid() + 1)
        assert security.local_root(ours) is None
