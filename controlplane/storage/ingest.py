# SPDX-License-Identifier: Apache-2.0
"""What a node ships, taken in one transaction: stored, correlated, counted, exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.records import IngestResult, ToolCall
from controlplane.correlate.correlator import Correlator, keys_of
from controlplane.storage import calls as calls_storage
from controlplane.storage import dialect, episodes, events, incidents
from controlplane.storage.fields import Fields
from controlplane.storage.tables import shipments


async def batch(
    connection: AsyncConnection,
    node: str,
    boot: str,
    batch_events: Sequence[dict[str, Any]],
    calls: Sequence[ToolCall],
    dropped: int,
    now: float,
) -> IngestResult:
    """Take a batch of one boot. Sent again, wholly or in part, it changes nothing.

    dropped: how many events the node has dropped for room, ever. Raises IngestError with the
    place of the fault; nothing of the batch is stored if the transaction is then undone.
    """
    _check_origin(node, boot, batch_events, calls)
    new = await events.insert(connection, batch_events, now)
    await calls_storage.upsert(connection, calls, now)
    await _correlate(connection, node, boot, new, calls, now)
    await episodes.discover(connection, new, calls, now)
    result = IngestResult(accepted=len(new), duplicates=len(batch_events) - len(new))
    await _count(connection, node, result, dropped, now)
    return result


def _check_origin(
    node: str, boot: str, batch_events: Sequence[dict[str, Any]], calls: Sequence[ToolCall]
) -> None:
    """Of no other node and boot may the sender speak."""
    for index, event in enumerate(batch_events):
        fields = Fields(event, f"events[{index}]")
        fields.require("node", node)
        fields.require("boot", boot)
    for index, call in enumerate(calls):
        fields = Fields({"node": call.node, "boot": call.boot}, f"calls[{index}]")
        fields.require("node", node)
        fields.require("boot", boot)


async def _correlate(
    connection: AsyncConnection,
    node: str,
    boot: str,
    new: Sequence[dict[str, Any]],
    calls: Sequence[ToolCall],
    now: float,
) -> None:
    known = await incidents.load(connection, keys_of(new))
    known |= await incidents.of_calls(connection, node, boot, {call.number for call in calls})
    correlator = Correlator(known)
    correlator.add_events(new)
    numbers = correlator.unnamed_calls() - {call.number for call in calls}
    correlator.add_calls(calls)
    correlator.add_calls(await calls_storage.by_number(connection, node, boot, numbers))
    await incidents.apply(connection, correlator.changed(), now)


async def _count(
    connection: AsyncConnection, node: str, result: IngestResult, dropped: int, now: float
) -> None:
    row = {"node": node, **result.model_dump(), "dropped": dropped, "updated": now}

    def changes(new: dialect.Columns) -> dict[str, Any]:
        here = shipments.c
        return {
            "accepted": here.accepted + new.accepted,
            "duplicates": here.duplicates + new.duplicates,
            "dropped": dialect.greater(new.dropped, here.dropped),
            "updated": new.updated,
        }

    await dialect.upsert(connection, shipments, [row], changes)
