# SPDX-License-Identifier: Apache-2.0
"""Who changed what: kept with each change, read by operators."""

from __future__ import annotations

from pydantic import Field

from controlplane.contract.records import AuditList
from controlplane.rest.route import ApiRequest, Query, Reply
from controlplane.storage import audit

MAXIMUM_PAGE = 1000


class AuditQuery(Query):
    """How many of the latest entries."""

    limit: int = Field(default=100, ge=1, le=MAXIMUM_PAGE)


async def list_audit(request: ApiRequest) -> Reply:
    """The latest changes, newest first."""
    query: AuditQuery = request.query
    async with request.services.database.reading() as connection:
        return Reply(AuditList(entries=await audit.entries(connection, query.limit)))
