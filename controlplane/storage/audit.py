# SPDX-License-Identifier: Apache-2.0
"""Who changed what."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.storage.tables import audit


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change. actor: a token's id, or `uid 0`; object: the name of what was changed."""

    time: float
    actor: str
    action: str
    object: str
    detail: str


async def record(
    connection: AsyncConnection,
    actor: str,
    action: str,
    object: str,  # noqa: A002
    detail: str,
    now: float,
) -> None:
    """Keep an entry, in the transaction of the change itself."""
    await connection.execute(
        audit.insert().values(
            time=now,
            actor=actor,
            action=action,
            object=object,
            detail=detail,
        )
    )


async def entries(connection: AsyncConnection, limit: int = 1000) -> list[AuditEntry]:
    """The latest entries, newest first."""
    query = select(audit).order_by(audit.c.position.desc()).limit(limit)
    return [
        AuditEntry(row.time, row.actor, row.action, row.object, row.detail)
        for row in await connection.execute(query)
    ]
