# SPDX-License-Identifier: Apache-2.0
"""Policies: immutable revisions, what nodes shall have, and what they say that they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.records import (
    Acknowledgement,
    DesiredPolicies,
    PolicyFailure,
    PolicyRevision,
    Rollout,
)
from controlplane.storage import dialect
from controlplane.storage.tables import (
    counters,
    nodes,
    policy_acknowledgements,
    policy_numbers,
    policy_revisions,
)

VERSION = "policies"

LIVE_SECONDS = 30.0
"""A node that was silent for longer is not live."""


async def put(
    connection: AsyncConnection, name: str, text: str, author: str, now: float
) -> PolicyRevision:
    """A new revision with this text; the newest one unchanged if it says the same already.

    Not where a node has taken a higher number by itself: it refuses the newest one.
    """
    newest = await head(connection, name)
    same = newest is not None and not newest.removed and newest.text == text
    if newest is not None and same and await _taken(connection, name) <= newest.revision:
        return newest
    return await _add(connection, name, text, author, now, removed=False)


async def remove(
    connection: AsyncConnection, name: str, author: str, now: float
) -> PolicyRevision | None:
    """A revision that removes the policy; None if there was none, the newest if it is removed."""
    newest = await head(connection, name)
    if newest is None or newest.removed:
        return newest
    return await _add(connection, name, "", author, now, removed=True)


async def head(connection: AsyncConnection, name: str) -> PolicyRevision | None:
    """The newest revision, a removal included."""
    query = _of(name).order_by(policy_revisions.c.revision.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return None if row is None else _revision(row)


async def heads(connection: AsyncConnection) -> list[PolicyRevision]:
    """The newest revision of each policy, removals included, by name."""
    newest = (
        select(policy_revisions.c.name, func.max(policy_revisions.c.revision).label("revision"))
        .group_by(policy_revisions.c.name)
        .subquery()
    )
    query = (
        select(policy_revisions)
        .join(
            newest,
            and_(
                policy_revisions.c.name == newest.c.name,
                policy_revisions.c.revision == newest.c.revision,
            ),
        )
        .order_by(policy_revisions.c.name)
    )
    return [_revision(row) for row in await connection.execute(query)]


async def revision(connection: AsyncConnection, name: str, number: int) -> PolicyRevision | None:
    """One revision."""
    query = _of(name).where(policy_revisions.c.revision == number)
    row = (await connection.execute(query)).first()
    return None if row is None else _revision(row)


async def history(connection: AsyncConnection, name: str) -> list[PolicyRevision]:
    """All revisions, newest first."""
    query = _of(name).order_by(policy_revisions.c.revision.desc())
    return [_revision(row) for row in await connection.execute(query)]


async def version(connection: AsyncConnection) -> int:
    """A number that changes with every accepted change of any policy."""
    query = select(counters.c.value).where(counters.c.name == VERSION)
    return (await connection.execute(query)).scalar_one_or_none() or 0


async def desired(connection: AsyncConnection) -> DesiredPolicies:
    """All that every node shall have in force, or shall have removed."""
    return DesiredPolicies(version=await version(connection), policies=await heads(connection))


async def learn_numbers(connection: AsyncConnection, numbers: Mapping[str, int]) -> None:
    """Remember revision numbers that a node has taken; the highest counts."""
    known = policy_numbers.c.revision
    await dialect.upsert(
        connection,
        policy_numbers,
        [{"name": name, "revision": number} for name, number in numbers.items()],
        lambda new: {"revision": dialect.greater(new.revision, known)},
    )


async def acknowledge(
    connection: AsyncConnection,
    node: str,
    boot: str,
    acks: list[Acknowledgement],
    now: float,
) -> None:
    """Take a node's word on revisions. One on an older revision never undoes a newer one's."""
    table = policy_acknowledgements
    query = select(table).where(table.c.node == node, table.c.boot == boot)
    rows: dict[str, dict[str, Any]] = {
        row.policy: dict(row._mapping) for row in await connection.execute(query)
    }
    changed: dict[str, dict[str, Any]] = {}
    for ack in acks:
        name = ack.policy
        row = rows.setdefault(
            name,
            {"node": node, "boot": boot, "policy": name, "acked": 0, "failed": 0, "message": ""},
        )
        if _take(row, ack):
            changed[name] = {**row, "updated": now}
    newest = dialect.newest("acked", "failed", "message", "updated")
    await dialect.upsert(connection, table, list(changed.values()), newest)
    numbers: dict[str, int] = {}
    for ack in acks:
        numbers[ack.policy] = max(ack.revision, numbers.get(ack.policy, 0))
    await learn_numbers(connection, numbers)


async def rollout(connection: AsyncConnection, name: str, revision: int, now: float) -> Rollout:
    """Where a revision, or a newer one, is in force, over the nodes that are live.

    What a node acknowledged before its last reboot does not count: its kernel is another.
    """
    table = policy_acknowledgements
    query = (
        select(nodes.c.name, table.c.acked, table.c.failed, table.c.message)
        .outerjoin(
            table,
            and_(
                table.c.node == nodes.c.name,
                table.c.boot == nodes.c.boot,
                table.c.policy == name,
            ),
        )
        .where(nodes.c.last_seen >= now - LIVE_SECONDS)
        .order_by(nodes.c.name)
    )
    acked: list[str] = []
    pending: list[str] = []
    failed: list[PolicyFailure] = []
    for row in await connection.execute(query):
        # A node that took the revision and refused it later (a repair that failed) has failed.
        if row.acked is not None and row.acked >= revision and row.failed != revision:
            acked.append(row.name)
        elif row.failed is not None and row.failed >= revision:
            failed.append(PolicyFailure(node=row.name, message=row.message))
        else:
            pending.append(row.name)
    return Rollout(acked=acked, pending=pending, failed=failed)


def _take(row: dict[str, Any], ack: Acknowledgement) -> bool:
    """Change a node's row by one acknowledgement; whether it did."""
    if ack.revision < max(row["acked"], row["failed"]):
        return False
    if ack.state == "acked":
        row.update(acked=ack.revision, failed=0, message="")
    else:
        row.update(failed=ack.revision, message=ack.message)
    return True


async def _add(
    connection: AsyncConnection, name: str, text: str, author: str, now: float, *, removed: bool
) -> PolicyRevision:
    last = select(func.max(policy_revisions.c.revision)).where(policy_revisions.c.name == name)
    ours = (await connection.execute(last)).scalar_one() or 0
    theirs = await _taken(connection, name)
    added = PolicyRevision(
        name=name,
        revision=1 + max(ours, theirs),
        removed=removed,
        text=text,
        author=author,
        created=now,
    )
    await connection.execute(policy_revisions.insert().values(**added.model_dump()))
    await dialect.upsert(
        connection,
        counters,
        [{"name": VERSION, "value": 1}],
        lambda _: {"value": counters.c.value + 1},
    )
    return added


async def _taken(connection: AsyncConnection, name: str) -> int:
    """The highest number that any node has said to have for this name."""
    query = select(policy_numbers.c.revision).where(policy_numbers.c.name == name)
    return (await connection.execute(query)).scalar_one_or_none() or 0


def _of(name: str) -> Any:
    return select(policy_revisions).where(policy_revisions.c.name == name)


def _revision(row: Row[Any]) -> PolicyRevision:
    return PolicyRevision.model_validate(row._mapping)
