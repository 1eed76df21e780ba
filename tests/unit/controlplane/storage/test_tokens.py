# SPDX-License-Identifier: Apache-2.0
"""Tokens are found by their digest, end when they are revoked, and stay on record."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from controlplane.contract.records import Token
from controlplane.storage import tokens
from tests.unit.controlplane.storage.conftest import NOW, Storage


def make(name: str = "ci", **fields: Any) -> Token:
    given: dict[str, Any] = {
        "id": name, "name": name, "role": "operator", "node": None, "created": NOW,
        "expires": None, "revoked": None, "last_used": None, **fields,
    }  # fmt: skip
    return Token(**given)


def test_a_token_is_found_by_its_digest_only(storage: Storage) -> None:
    token = make(role="node", node="gpu-1", expires=NOW + 60)
    storage.write(tokens.add, token, "digest")
    assert storage.read(tokens.by_hash, "digest") == token
    assert storage.read(tokens.by_hash, "other") is None


def test_two_tokens_never_share_a_secret(storage: Storage) -> None:
    storage.write(tokens.add, make("one"), "digest")
    with pytest.raises(IntegrityError):
        storage.write(tokens.add, make("two"), "digest")


def test_a_revoked_token_keeps_the_time_of_its_end(storage: Storage) -> None:
    storage.write(tokens.add, make(), "digest")
    first = storage.write(tokens.revoke, "ci", NOW + 1)
    assert first is not None
    assert first.revoked == NOW + 1
    assert storage.write(tokens.revoke, "ci", NOW + 2) == first
    assert storage.read(tokens.by_hash, "digest") == first
    assert storage.write(tokens.revoke, "unknown", NOW) is None


def test_the_list_has_all_newest_first(storage: Storage) -> None:
    storage.write(tokens.add, make("old"), "a")
    storage.write(tokens.add, make("new", created=NOW + 1), "b")
    storage.write(tokens.used, "old", NOW + 5)
    assert [(t.id, t.last_used) for t in storage.read(tokens.all)] == [
        ("new", None), ("old", NOW + 5),
    ]  # fmt: skip
