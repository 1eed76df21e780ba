# SPDX-License-Identifier: Apache-2.0
"""Who asks: tokens, roles, and the machine's own root on the Unix socket.

A token is `lictor_<id>_<secret>`. The id is public (it stands in lists and in the log); the
secret is 256 random bits and is shown once, when the token is made.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import socket
import struct
from dataclasses import dataclass

from controlplane.contract.records import Role, Token

ROOT = 0
SCHEME = "Bearer"

VIEWERS: frozenset[Role] = frozenset({"viewer", "operator"})
OPERATORS: frozenset[Role] = frozenset({"operator"})
NODES: frozenset[Role] = frozenset({"operator", "node"})
TOOLS: frozenset[Role] = frozenset({"operator", "tool"})
EPISODE_READERS: frozenset[Role] = frozenset({"viewer", "operator", "tool"})

_TOKEN = re.compile(r"lictor_(?P<id>[a-z2-7]{12})_(?P<secret>[A-Za-z0-9_-]{43})")
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 12


@dataclass(frozen=True)
class Principal:
    """Who asks, and as what. node: the only node that a token of the role node speaks for."""

    name: str
    role: Role
    node: str | None = None


LOCAL_ROOT = Principal("root (uid 0)", "operator")


class NotAuthenticated(Exception):
    """The request proves no identity; the text says why, without the secret."""


def new_token() -> tuple[str, str]:
    """A new token's id and its whole text."""
    number = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
    return number, f"lictor_{number}_{secrets.token_urlsafe(32)}"


def token_hash(text: str) -> str:
    """What is stored of a token.

    One round of SHA-256 is right here: slow hashes protect what people choose, and nobody
    guesses 256 random bits. Being looked up by it, the hash gives no timing away either: whoever
    measures how much of a hash matched cannot choose a token by its hash.
    """
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def bearer_token(header: str) -> str:
    """The token of an Authorization header; NotAuthenticated if it holds none of ours."""
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != SCHEME.lower():
        raise NotAuthenticated(f"the Authorization header is not of the form '{SCHEME} TOKEN'")
    text = credentials.strip(" ")
    if _TOKEN.fullmatch(text) is None:
        raise NotAuthenticated("the token is not of the form lictor_ID_SECRET")
    return text


def principal_of(token: Token | None, now: float) -> Principal:
    """Whom a stored token stands for; NotAuthenticated if it is unknown or no longer good."""
    if token is None:
        raise NotAuthenticated("the token is not known")
    if token.revoked is not None:
        raise NotAuthenticated(f"token {token.id} was revoked")
    if token.expires is not None and token.expires <= now:
        raise NotAuthenticated(f"token {token.id} has expired")
    return Principal(f"{token.name} (token {token.id})", token.role, token.node)


def local_root(connection: socket.socket | None) -> int | None:
    """Pid of the other end if it is this machine's root, as the kernel recorded it at connect(2).

    root of another user namespace is not: the kernel translates the user id to ours.
    """
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    size = struct.calcsize("3i")
    pid, uid, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return int(pid) if uid == ROOT else None
