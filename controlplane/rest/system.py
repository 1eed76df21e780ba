# SPDX-License-Identifier: Apache-2.0
"""How the control plane itself is: alive, ready, counted, documented."""

from __future__ import annotations

import json
from http import HTTPStatus

from controlplane import metrics
from controlplane.openapi import DOCUMENT
from controlplane.rest.problem import Refusal
from controlplane.rest.route import ApiRequest, Reply
from controlplane.storage import nodes


async def healthz(_request: ApiRequest) -> Reply:
    """The process turns its event loop."""
    return Reply(b"ok\n")


async def readyz(request: ApiRequest) -> Reply:
    """The database answers too."""
    if not await request.services.database.answers():
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the database does not answer")
    return Reply(b"ok\n")


async def read_metrics(request: ApiRequest) -> Reply:
    """Everything that is counted."""
    services = request.services
    async with services.database.reading() as connection:
        found = await nodes.all(connection, services.clock())
    for live in (True, False):
        for enforcing in (True, False):
            number = sum((n.live, n.report.enforcing) == (live, enforcing) for n in found)
            services.metrics.nodes.labels(_word(live), _word(enforcing)).set(number)
    enforcing_by_node = services.metrics.node_enforcing
    enforcing_by_node.clear()
    for node in found:
        enforcing_by_node.labels(node.name).set(node.enforcing)
    services.metrics.dropped.set(sum(node.report.spool_dropped for node in found))
    return Reply(services.metrics.text())


async def openapi(request: ApiRequest) -> Reply:
    """The document of this very API."""
    return Reply(json.dumps(request.http.app[DOCUMENT]).encode("ascii"))


def _word(value: bool) -> str:
    return str(value).lower()


TEXT = "text/plain; charset=utf-8"
METRICS_TEXT = metrics.CONTENT_TYPE
