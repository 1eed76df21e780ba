# SPDX-License-Identifier: Apache-2.0
"""Who changed what."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.records import AuditEntry
from controlplane.storage.tables import audit


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


async def entries(connection: AsyncConnection, limit: int) -> list[AuditEntry]:
    """The latest entries, newest first."""
    query = select(audit).order_by(audit.c.position.desc()).limit(limit)
    return [
        AuditEntry(
            time=row.time, actor=row.actor, action=row.action, object=row.object, detail=row.detail
        )
        for row in await connection.execute(query)
    ]
