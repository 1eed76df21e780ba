# SPDX-License-Identifier: Apache-2.0
"""From a request to its handler and back: who asks, what they ask, and every refusal's form."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web
from loguru import logger
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from controlplane import localpeers, security
from controlplane.contract.records import Role, Token
from controlplane.contract.timedlistener import TimedListener
from controlplane.rest.problem import Refusal, problem_response
from controlplane.rest.reading import read_body, read_query
from controlplane.rest.route import ApiRequest, Reply, Route
from controlplane.security import NotAuthenticated, Principal
from controlplane.services import SERVICES, Services
from controlplane.storage import tokens

AioHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CHALLENGE = {"WWW-Authenticate": f'{security.SCHEME} realm="lictor"'}
# How exactly the last use of a token is known: each note is a durable write.
NOTE_USE_SECONDS = 60
RETRY_SECONDS = 1
UNROUTED = "(none)"
ROUTE = web.RequestKey("ROUTE", str)


def aiohttp_handler(route: Route) -> AioHandler:
    """The route as aiohttp calls it: authorise first, read the body only then."""

    async def handle(http: web.Request) -> web.StreamResponse:
        http[ROUTE] = route.path
        services = http.app[SERVICES]
        principal = None
        if route.roles is not None:
            principal = await authenticate(http, services)
            _authorise(principal, route, route.roles, http)
        query = read_query(http, route.query)
        body = await read_body(http, route.body) if route.body is not None else None
        reply = await route.handler(ApiRequest(http, principal, query, body, services))
        return _response(reply, route.media_type)

    return handle


async def authenticate(http: web.Request, services: Services) -> Principal:
    """Who asks. A token given is a token judged, also from root: what it may not, it does not."""
    headers = http.headers.getall("Authorization", ())
    try:
        if not headers:
            transport = http.transport
            peer = transport.get_extra_info("socket") if transport is not None else None
            return await _local_principal(peer)
        if len(headers) > 1:
            raise NotAuthenticated("there is more than one Authorization header")
        return await _token_principal(security.bearer_token(headers[0]), services)
    except NotAuthenticated as error:
        services.metrics.refused_credentials.inc()
        raise Refusal(HTTPStatus.UNAUTHORIZED, str(error), headers=CHALLENGE) from None


async def _local_principal(peer: socket.socket | None) -> Principal:
    pid = security.local_root(peer)
    if peer is None or pid is None:
        raise NotAuthenticated("a token is needed: Authorization: Bearer TOKEN")
    since = TimedListener.since.get(peer.fileno(), 0.0)
    if not await localpeers.is_surely_outside(pid, since):
        raise NotAuthenticated(
            "a token is needed: only root outside every workload goes without one, and this node's"
            f" agent does not say so of process {pid}"
        )
    return security.LOCAL_ROOT


async def _token_principal(text: str, services: Services) -> Principal:
    now = services.clock()
    async with services.database.reading() as connection:
        token = await tokens.by_hash(connection, security.token_hash(text))
    principal = security.principal_of(token, now)
    if token is not None and _is_news(token, now):
        async with services.database.writing() as connection:
            await tokens.used(connection, token.id, now)
    return principal


def _is_news(token: Token, now: float) -> bool:
    return token.last_used is None or token.last_used <= now - NOTE_USE_SECONDS


def _authorise(
    principal: Principal, route: Route, roles: frozenset[Role], http: web.Request
) -> None:
    if principal.role not in roles:
        allowed = " or ".join(sorted(roles))
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            f"{principal.name} has the role {principal.role}; "
            f"{route.method} {route.path} wants {allowed}",
        )
    if route.own_node and principal.role == "node" and http.match_info["node"] != principal.node:
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            f"{principal.name} speaks for node {principal.node}, not for {http.match_info['node']}",
        )


def _response(reply: Reply, media_type: str) -> web.Response:
    body = reply.body
    if body is None:
        return web.Response(status=reply.status, headers=reply.headers)
    if isinstance(body, BaseModel):
        body = body.model_dump_json().encode("utf-8")
    headers = {"Content-Type": media_type, "Cache-Control": "no-store", **reply.headers}
    return web.Response(status=reply.status, body=body, headers=headers)


@web.middleware
async def answer_problems(request: web.Request, handler: AioHandler) -> web.StreamResponse:
    """Every failure as a problem; counted and logged, without what a client wrote."""
    started = time.monotonic()
    try:
        response = await handler(request)
    except Refusal as refusal:
        response = problem_response(refusal)
    except web.HTTPException as error:
        response = problem_response(_of_aiohttp(request, error))
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        if isinstance(error, ConnectionError):
            raise
        logger.error("{} {}: the database failed: {}", request.method, request.raw_path, error)
        response = problem_response(
            Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the database does not answer; nothing was changed",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        )
    except Exception:  # noqa: BLE001 (logged, and answered as a problem)
        logger.exception("{} {}: failed", request.method, request.raw_path)
        response = problem_response(
            Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "an internal error; the log says more")
        )
    _count(request, response.status, time.monotonic() - started)
    return response


def _count(http: web.Request, status: int, seconds: float) -> None:
    metrics = http.app[SERVICES].metrics
    route = http.get(ROUTE, UNROUTED)
    method = http.method if route != UNROUTED else UNROUTED
    metrics.requests.labels(method, route, status).inc()
    metrics.seconds.labels(method, route).observe(seconds)
    logger.debug("{} {} {} {:.1f} ms", http.method, http.raw_path, status, seconds * 1000)


def _of_aiohttp(http: web.Request, error: web.HTTPException) -> Refusal:
    status = HTTPStatus(error.status)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        text = f"{http.path} does not take {http.method}, only {allowed}"
        return Refusal(status, text, headers={"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return Refusal(status, f"there is no {http.path}; /v1/openapi.json lists what there is")
    return Refusal(status, error.text or status.phrase)
