# SPDX-License-Identifier: Apache-2.0
"""Nodes, by their last report."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.records import Node, NodeReport, Workload
from controlplane.storage import dialect, policies, streams
from controlplane.storage.plain import plain_json
from controlplane.storage.policies import LIVE_SECONDS
from controlplane.storage.tables import nodes, policy_acknowledgements


async def report(connection: AsyncConnection, name: str, report: NodeReport, now: float) -> None:
    """Keep what a node tells of itself.

    A new boot's kernel has acknowledged nothing yet, so the old boot's words go.
    """
    boot = report.boot
    row = {
        "name": name,
        "boot": boot,
        "last_seen": now,
        "report": plain_json(report.model_dump())[1],
    }
    await dialect.upsert(connection, nodes, [row], dialect.newest("boot", "last_seen", "report"))
    table = policy_acknowledgements
    await connection.execute(delete(table).where(table.c.node == name, table.c.boot != boot))
    await policies.learn_numbers(connection, report.policies)
    await streams.learn_counts(connection, name, boot, report.workloads, now)


async def all(connection: AsyncConnection, now: float) -> list[Node]:  # noqa: A001
    """Every node that ever reported, by name."""
    query = select(nodes).order_by(nodes.c.name)
    return [_node(row, now) for row in await connection.execute(query)]


async def workloads(
    connection: AsyncConnection, now: float, node: str | None = None
) -> list[Workload]:
    """The workloads of live nodes, or of the one `node` if it is live."""
    return [
        Workload(node=each.name, workload=workload)
        for each in await all(connection, now)
        if each.live and node in (None, each.name)
        for workload in each.report.workloads
    ]


def _node(row: Row[Any], now: float) -> Node:
    last = NodeReport.model_validate_json(row.report)
    live = row.last_seen >= now - LIVE_SECONDS
    return Node(
        name=row.name,
        live=live,
        # Of a node that is silent only the past is known.
        enforcing=live and last.enforcing,
        last_seen=row.last_seen,
        report=last,
    )
