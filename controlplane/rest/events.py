# SPDX-License-Identifier: Apache-2.0
"""Events and tool calls: taken in from nodes, given out to people."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from pydantic import Field

from controlplane.contract.records import Fault, ToolCallList
from controlplane.rest.batches import read_batch
from controlplane.rest.problem import Refusal, unknown
from controlplane.rest.route import ApiRequest, Query, Reply
from controlplane.storage import calls, events, ingest
from controlplane.storage.events import EventFilter
from controlplane.storage.fields import IngestError

MAXIMUM_PAGE = 1000


class EventQuery(Query):
    """Which events. after: the `next` of the page before; every other one narrows the choice."""

    id: str | None = None
    node: str | None = None
    workload: str | None = None
    episode: str | None = None
    call: str | None = None
    policy: str | None = None
    kind: str | None = None
    decision: str | None = Field(default=None, pattern="^(allowed|denied|audited)$")
    after: int = Field(default=0, ge=0, lt=1 << 63)
    limit: int = Field(default=100, ge=1, le=MAXIMUM_PAGE)


class CallQuery(Query):
    """Which tool calls: of an episode, or all that bear an id."""

    episode: str | None = None
    id: str | None = None
    limit: int = Field(default=100, ge=1, le=MAXIMUM_PAGE)


async def ingest_batch(request: ApiRequest) -> Reply:
    """Store a batch. The answer means: durably stored, and correlated, once each."""
    services = request.services
    node = request.path("node")
    batch, sent = await asyncio.to_thread(read_batch, request.body)
    try:
        async with services.database.writing() as connection:
            result = await ingest.batch(
                connection, node, batch.boot, sent, batch.calls, batch.dropped, services.clock()
            )
    except IngestError as error:
        fault = Fault(field=error.place, message=error.message)
        raise Refusal(HTTPStatus.BAD_REQUEST, "batch: 1 fault", [fault]) from None
    services.metrics.events.inc(result.accepted)
    services.metrics.duplicates.inc(result.duplicates)
    return Reply(result)


async def list_events(request: ApiRequest) -> Reply:
    """A page of events, oldest first."""
    wanted = EventFilter(**request.query.model_dump())
    async with request.services.database.reading() as connection:
        return Reply(await events.query(connection, wanted))


async def get_event(request: ApiRequest) -> Reply:
    """One event."""
    name = request.path("id")
    async with request.services.database.reading() as connection:
        event = await events.get(connection, name)
    if event is None:
        raise unknown("event", name)
    return Reply(event)


async def list_calls(request: ApiRequest) -> Reply:
    """Tool calls, newest first."""
    query: CallQuery = request.query
    async with request.services.database.reading() as connection:
        found = await calls.query(connection, episode=query.episode, id=query.id, limit=query.limit)
    return Reply(ToolCallList(calls=found))
