# SPDX-License-Identifier: Apache-2.0
"""Nodes: what they report, what they shall have in force, what they say they have."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import Field

from controlplane.contract.records import (
    Acknowledgement,
    DesiredPolicies,
    NodeList,
    NodeReport,
    Record,
    WorkloadList,
)
from controlplane.rest.reading import MAXIMUM_WAIT
from controlplane.rest.route import ApiRequest, Query, Reply
from controlplane.storage import nodes, policies


class DesiredQuery(Query):
    """after: the version that the node has. wait: seconds to wait for another one."""

    after: int | None = Field(default=None, ge=0, lt=1 << 63)
    wait: float = Field(default=0, ge=0, le=MAXIMUM_WAIT)


class WorkloadQuery(Query):
    """Whose workloads: one node's, or all."""

    node: str | None = None


class Acknowledgements(Record):
    """POST …/acknowledgements: what became of revisions in this boot."""

    boot: str = Field(min_length=1, max_length=64)
    acknowledgements: list[Acknowledgement] = Field(max_length=10_000)


async def list_nodes(request: ApiRequest) -> Reply:
    """Every node that ever reported."""
    async with request.services.database.reading() as connection:
        found = await nodes.all(connection, request.services.clock())
    return Reply(NodeList(nodes=found))


async def list_workloads(request: ApiRequest) -> Reply:
    """Every workload of the nodes, and why one is not covered."""
    query: WorkloadQuery = request.query
    async with request.services.database.reading() as connection:
        found = await nodes.workloads(connection, request.services.clock(), query.node)
    return Reply(WorkloadList(workloads=found))


async def report_node(request: ApiRequest) -> Reply:
    """A node lives, and this is how it is."""
    report: NodeReport = request.body
    async with request.services.database.writing() as connection:
        await nodes.report(connection, request.path("node"), report, request.services.clock())
    return Reply(status=HTTPStatus.NO_CONTENT)


async def desired_policies(request: ApiRequest) -> Reply:
    """What shall be in force, as soon as it differs from what the node has."""
    services = request.services
    query: DesiredQuery = request.query

    async def look() -> DesiredPolicies:
        async with services.database.reading() as connection:
            return await policies.desired(connection)

    with services.metrics.waiting.track_inprogress():
        found = await services.desired.until(
            look, lambda desired: desired.version != query.after, query.wait
        )
    return Reply(found)


async def acknowledge(request: ApiRequest) -> Reply:
    """What the node read back from its kernel, or why it refused."""
    services = request.services
    told: Acknowledgements = request.body
    async with services.database.writing() as connection:
        await policies.acknowledge(
            connection, request.path("node"), told.boot, told.acknowledgements, services.clock()
        )
    failures = sum(each.state == "failed" for each in told.acknowledgements)
    services.metrics.policy_failures.inc(failures)
    await services.rollout.tell()
    return Reply(status=HTTPStatus.NO_CONTENT)
