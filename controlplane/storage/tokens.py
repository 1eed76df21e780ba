# SPDX-License-Identifier: Apache-2.0
"""Tokens: kept as digests only, so that who reads the database can use none."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.records import Token
from controlplane.storage.tables import tokens


async def add(connection: AsyncConnection, token: Token, digest: str) -> None:
    """Store a new token; digest: of its secret, by which it is found."""
    row = {**token.model_dump(), "name": token.name, "digest": digest}
    await connection.execute(tokens.insert().values(**row))


async def by_hash(connection: AsyncConnection, digest: str) -> Token | None:
    """The token with this digest, though it may be expired or revoked."""
    row = (await connection.execute(select(tokens).where(tokens.c.digest == digest))).first()
    return None if row is None else _token(row)


async def revoke(connection: AsyncConnection, id: str, now: float) -> Token | None:  # noqa: A002
    """End a token's life now; one that was revoked before keeps its time. None: there is none."""
    await connection.execute(
        update(tokens).where(tokens.c.id == id, tokens.c.revoked.is_(None)).values(revoked=now)
    )
    row = (await connection.execute(select(tokens).where(tokens.c.id == id))).first()
    return None if row is None else _token(row)


async def all(connection: AsyncConnection) -> list[Token]:  # noqa: A001
    """Every token that ever was, newest first."""
    query = select(tokens).order_by(tokens.c.created.desc(), tokens.c.id)
    return [_token(row) for row in await connection.execute(query)]


async def used(connection: AsyncConnection, id: str, now: float) -> None:  # noqa: A002
    """Remember that a token was used."""
    await connection.execute(update(tokens).where(tokens.c.id == id).values(last_used=now))


def _token(row: Row[Any]) -> Token:
    return Token.model_validate({name: row._mapping[name] for name in Token.model_fields})
