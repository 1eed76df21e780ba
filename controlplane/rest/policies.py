# SPDX-License-Identifier: Apache-2.0
"""Policies: taken only whole and valid, kept as revisions, shown with where they are in force."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import yaml
from aiohttp import web

from controlplane.contract.policy import Policy, PolicyError, parse_policy, parse_policy_object
from controlplane.contract.records import (
    Fault,
    PolicyAccepted,
    PolicyHistory,
    PolicyList,
    PolicyRevision,
    PolicyStatus,
    Rollout,
)
from controlplane.rest.problem import Refusal, invalid_policy, unknown
from controlplane.rest.reading import check_precondition, preferred_wait, strict_json
from controlplane.rest.route import JSON, ApiRequest, Query, Reply
from controlplane.storage import audit, policies


class PolicyListQuery(Query):
    """GET /v1/policies. removed: also those whose newest revision is a removal."""

    removed: bool = False


async def put_policy(request: ApiRequest) -> Reply:
    """A new revision, or the newest one again where the text is the same."""
    name = request.path("name")
    text = await asyncio.to_thread(_checked_text, request.http, name, request.body)
    now = request.services.clock()
    async with request.services.database.writing() as connection:
        head = await policies.head(connection, name)
        check_precondition(request.http, f"policy {name}", _current(head))
        revision = await policies.put(connection, name, text, request.actor, now)
        is_new = head is None or head.revision != revision.revision
        if is_new:
            detail = f"revision {revision.revision}"
            await audit.record(connection, request.actor, "policy.put", name, detail, now)
    return await _accepted(request, revision, is_new)


async def delete_policy(request: ApiRequest) -> Reply:
    """Removed by a revision like any other: nodes acknowledge it too."""
    name = request.path("name")
    now = request.services.clock()
    async with request.services.database.writing() as connection:
        head = await policies.head(connection, name)
        check_precondition(request.http, f"policy {name}", _current(head))
        revision = await policies.remove(connection, name, request.actor, now)
        if revision is None:
            raise unknown("policy", name)
        is_new = head is None or head.revision != revision.revision
        if is_new:
            detail = f"revision {revision.revision}"
            await audit.record(connection, request.actor, "policy.delete", name, detail, now)
    return await _accepted(request, revision, is_new)


async def list_policies(request: ApiRequest) -> Reply:
    """Every policy's newest revision and where it is in force."""
    now = request.services.clock()
    async with request.services.database.reading() as connection:
        heads = await policies.heads(connection)
        shown = [head for head in heads if request.query.removed or not head.removed]
        statuses = [
            PolicyStatus(
                policy=head,
                nodes=await policies.rollout(connection, head.name, head.revision, now),
            )
            for head in shown
        ]
    return Reply(PolicyList(policies=statuses))


async def get_policy(request: ApiRequest) -> Reply:
    """One policy's newest revision, a removal too: where that is in force is worth asking."""
    name = request.path("name")
    async with request.services.database.reading() as connection:
        head = await policies.head(connection, name)
        if head is None:
            raise unknown("policy", name)
        now = request.services.clock()
        rollout = await policies.rollout(connection, name, head.revision, now)
    return Reply(PolicyStatus(policy=head, nodes=rollout), headers=_entity_tag(head))


async def list_revisions(request: ApiRequest) -> Reply:
    """Every revision of one policy, newest first."""
    name = request.path("name")
    async with request.services.database.reading() as connection:
        revisions = await policies.history(connection, name)
    if not revisions:
        raise unknown("policy", name)
    return Reply(PolicyHistory(revisions=revisions))


async def get_revision(request: ApiRequest) -> Reply:
    """One revision of one policy."""
    name, number = request.path("name"), int(request.path("revision"))
    async with request.services.database.reading() as connection:
        revision = await policies.revision(connection, name, number)
    if revision is None:
        raise unknown(f"policy {name}: revision", number)
    return Reply(revision)


def _checked_text(http: web.Request, name: str, raw: bytes) -> str:
    """The document as text that a node reads to the same policy; Refusal with every fault."""
    try:
        policy, text = _parsed(http, name, raw)
    except PolicyError as error:
        raise invalid_policy(name, error) from None
    if policy.name != name:
        fault = Fault(field="metadata.name", message=f"{policy.name!r} is not {name!r}, the path's")
        raise Refusal(HTTPStatus.BAD_REQUEST, f"policy {name}: 1 fault", [fault])
    return text


def _parsed(http: web.Request, name: str, raw: bytes) -> tuple[Policy, str]:
    if http.content_type != JSON:
        return parse_policy(raw, name), raw.decode("utf-8")
    policy = parse_policy_object(strict_json(raw), name)
    text = raw.decode("utf-8")
    try:
        if parse_policy(text, name) == policy:
            return policy, text
    except PolicyError:
        pass
    # JSON that YAML reads otherwise (tabs, a surrogate pair): the same document in words of YAML.
    return policy, yaml.safe_dump(policy.to_document(), allow_unicode=True, sort_keys=False)


def _current(head: PolicyRevision | None) -> int | None:
    return None if head is None or head.removed else head.revision


def _entity_tag(revision: PolicyRevision) -> dict[str, str]:
    return {"ETag": f'"{revision.revision}"'}


async def _accepted(request: ApiRequest, revision: PolicyRevision, is_new: bool) -> Reply:
    """The answer, once no live node is pending or the preferred wait is over."""
    services = request.services
    if is_new:
        await services.desired.tell()

    async def look() -> Rollout:
        async with services.database.reading() as connection:
            return await policies.rollout(
                connection, revision.name, revision.revision, services.clock()
            )

    wait = preferred_wait(request.http)
    with services.metrics.waiting.track_inprogress():
        rollout = await services.rollout.until(look, lambda found: not found.pending, wait or 0)
    headers = _entity_tag(revision)
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
    # Where no node is live, nothing is in force: that is accepted, and not yet done.
    done = bool(rollout.acked) and not rollout.pending and not rollout.failed
    accepted = PolicyAccepted(name=revision.name, revision=revision.revision, nodes=rollout)
    return Reply(accepted, HTTPStatus.OK if done else HTTPStatus.ACCEPTED, headers)
