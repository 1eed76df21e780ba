# SPDX-License-Identifier: Apache-2.0
"""What a call, or a process without one, did from the first event of its incident on."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.records import StoredEvent
from controlplane.correlate.incident import KnownIncident
from controlplane.storage.events import fetch, stored_events
from controlplane.storage.tables import events, streams


async def followed(
    connection: AsyncConnection, known: KnownIncident, position: int, limit: int
) -> list[StoredEvent]:
    """Events that are not the incident's own, in order of time.

    position: of the incident's first event to arrive. Of more than `limit`, those that arrived
    first.
    """
    key = known.key
    source = select(streams.c.id).where(
        streams.c.node == key.node,
        streams.c.boot == key.boot,
        streams.c.workload_id == key.workload_id,
    )
    stream = (await connection.execute(source)).scalar_one_or_none()
    statement = stored_events().where(
        events.c.time >= known.first,
        events.c.incident.is_distinct_from(key.incident_id()),
    )
    if known.call is not None:
        # The sum keeps the workload's index out: a call has much fewer events than a workload.
        in_stream = events.c.stream + 0 == stream
        statement = statement.where(
            events.c.call == known.call, events.c.call_number == key.call, in_stream
        )
    else:
        statement = statement.where(events.c.stream == stream, events.c.position > position)
        if key.call is not None:
            statement = statement.where(events.c.call_number == key.call)
        else:
            same_start = events.c.start.is_not_distinct_from(key.start)
            statement = statement.where(events.c.pid == key.pid, same_start)
    found = await fetch(connection, statement.order_by(events.c.position).limit(limit))
    return sorted(found, key=lambda stored: (stored.event["time"], stored.position))
