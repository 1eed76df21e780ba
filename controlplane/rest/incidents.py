# SPDX-License-Identifier: Apache-2.0
"""Incidents: listed, looked into, and judged by people."""

from __future__ import annotations

from pydantic import Field

from controlplane.contract.records import IncidentChange, IncidentList, IncidentState
from controlplane.rest.problem import unknown
from controlplane.rest.route import ApiRequest, Query, Reply
from controlplane.storage import audit, incidents

MAXIMUM_PAGE = 1000


class IncidentQuery(Query):
    """Which incidents."""

    state: IncidentState | None = None
    episode: str | None = None
    limit: int = Field(default=100, ge=1, le=MAXIMUM_PAGE)


async def list_incidents(request: ApiRequest) -> Reply:
    """Incidents, newest first."""
    query: IncidentQuery = request.query
    async with request.services.database.reading() as connection:
        found = await incidents.query(
            connection, state=query.state, episode=query.episode, limit=query.limit
        )
    return Reply(IncidentList(incidents=found))


async def get_incident(request: ApiRequest) -> Reply:
    """One incident with its call, its events and what followed."""
    name = request.path("id")
    async with request.services.database.reading() as connection:
        detail = await incidents.get(connection, name)
    if detail is None:
        raise unknown("incident", name)
    return Reply(detail)


async def change_incident(request: ApiRequest) -> Reply:
    """An operator's judgement; the audit log keeps who and what."""
    name = request.path("id")
    change: IncidentChange = request.body
    now = request.services.clock()
    async with request.services.database.writing() as connection:
        incident = await incidents.change(connection, name, change, now)
        if incident is None:
            raise unknown("incident", name)
        detail = change.model_dump_json(exclude_none=True)
        await audit.record(connection, request.actor, "incident.change", name, detail, now)
    return Reply(incident)
