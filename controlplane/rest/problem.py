# SPDX-License-Identifier: Apache-2.0
"""Refusals: raised anywhere below a handler, answered as RFC 9457 problem details."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from aiohttp import web
from pydantic import ValidationError

from controlplane.contract.policy import PolicyError
from controlplane.contract.policy_faults import path_text
from controlplane.contract.records import Fault, Problem

# A batch of thousands of events can have a fault in each.
MAXIMUM_FAULTS = 100
MEDIA_TYPE = "application/problem+json"


class Refusal(Exception):
    """A request is refused: HTTP status, what was refused and why, every fault, more headers."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        faults: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = list(faults)
        self.headers = dict(headers or {})


def unknown(kind: str, name: object) -> Refusal:
    """The object that the path names does not exist."""
    return Refusal(HTTPStatus.NOT_FOUND, f"{kind} {name}: is not known")


def invalid(what: str, error: ValidationError) -> Refusal:
    """A body or query that does not fit its model: every fault with its field, up to a hundred."""
    faults = [
        Fault(field=path_text(each["loc"]), message=each["msg"])
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    detail = f"{what}: {count(len(faults), 'fault')}"
    if len(faults) > MAXIMUM_FAULTS:
        detail += f", of which these are the first {MAXIMUM_FAULTS}"
    return Refusal(HTTPStatus.BAD_REQUEST, detail, faults[:MAXIMUM_FAULTS])


def invalid_policy(name: str, error: PolicyError) -> Refusal:
    """A policy document that is refused: every fault with its field path and line."""
    faults = [Fault(field=each.path, message=each.message, line=each.line) for each in error.faults]
    return Refusal(HTTPStatus.BAD_REQUEST, f"policy {name}: {count(len(faults), 'fault')}", faults)


def count(number: int, noun: str) -> str:
    """`1 fault`, `2 faults`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def problem_response(refusal: Refusal) -> web.Response:
    """The answer to a refused request."""
    problem = Problem(
        title=refusal.status.phrase,
        status=refusal.status,
        detail=refusal.detail,
        faults=refusal.faults,
    )
    response = web.Response(
        status=refusal.status,
        body=problem.model_dump_json().encode("utf-8"),
        content_type=MEDIA_TYPE,
        headers=refusal.headers,
    )
    if refusal.status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # The rest of the body is not read: the connection cannot serve another request.
        response.force_close()
    return response
