# SPDX-License-Identifier: Apache-2.0
"""From a request's bytes to checked values, within limits; every fault at once."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ValidationError

from controlplane.contract.records import Fault
from controlplane.rest.problem import Refusal, invalid
from controlplane.rest.route import Body, Query

MAXIMUM_WAIT = 60
INTEGER_DIGITS = 20
# RFC 9110, 8.8.3; our tags are revisions. Weak tags never match: nothing here is weak.
_ENTITY_TAG = re.compile(r'"([0-9]{1,18})"')
_WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?")


def read_query(http: web.Request, model: type[Query]) -> Query:
    """The query parameters; one that is unknown or written twice is a fault like a wrong value."""
    given: dict[str, str] = {}
    twice: list[Fault] = []
    for name, value in http.query.items():
        if name in given:
            twice.append(Fault(field=name, message="is given twice"))
        given[name] = value
    try:
        query = model.model_validate(given)
    except ValidationError as error:
        refusal = invalid("query", error)
        raise Refusal(refusal.status, refusal.detail, [*refusal.faults, *twice]) from None
    if twice:
        raise Refusal(HTTPStatus.BAD_REQUEST, "query: a parameter is given twice", twice)
    return query


async def read_body(http: web.Request, body: Body) -> BaseModel | bytes:
    """The body, as its model or as bytes."""
    _check_media_type(http, body.media_types)
    raw = await read_limited(http, body.limit)
    return raw if body.model is None else parse_json(raw, body.model)


async def read_limited(http: web.Request, limit: int) -> bytes:
    """At most `limit` bytes, counted after decompression, so that a small bomb stays small."""
    if (http.content_length or 0) > limit:
        raise _too_large(limit)
    received = bytearray()
    async for chunk in http.content.iter_any():
        received += chunk
        if len(received) > limit:
            raise _too_large(limit)
    return bytes(received)


def _too_large(limit: int) -> Refusal:
    text = f"the body is larger than {limit} bytes"
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)


def parse_json(raw: bytes, model: type[BaseModel]) -> BaseModel:
    """JSON against a model; a field written twice is a fault, where most readers take the last."""
    value = strict_json(raw)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid("body", error) from None


def strict_json(raw: bytes) -> Any:
    """Plain data of a JSON text (RFC 8259): no NaN, no field twice, no abyss of nesting."""
    try:
        text = raw.decode("utf-8")
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise _not_json(f"is not UTF-8: byte 0x{raw[error.start]:02x}") from None
    except json.JSONDecodeError as error:
        raise _not_json(f"is not JSON: {error.msg}", error.lineno) from None
    except RecursionError:
        raise _not_json("is nested too deeply") from None
    except ValueError as error:
        raise _not_json(str(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"is not plain JSON: field {name!r} is written twice")
        result[name] = value
    return result


def _integer(text: str) -> int:
    # Cut by length first: Python refuses to read numbers of thousands of digits.
    if len(text) > INTEGER_DIGITS or not -(1 << 63) <= int(text) < 1 << 63:
        raise ValueError("holds a number beyond 64 bits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("holds a number beyond 64 bits")
    return number


def _no_constant(text: str) -> Any:
    raise ValueError(f"is not JSON: {text} is not a number")


def _not_json(message: str, line: int | None = None) -> Refusal:
    fault = Fault(field="", message=message, line=line)
    return Refusal(HTTPStatus.BAD_REQUEST, f"the body {message}", [fault])


def _check_media_type(http: web.Request, allowed: Iterable[str]) -> None:
    given = http.headers.get("Content-Type")
    if given is None:
        return
    if given.partition(";")[0].strip().lower() not in allowed:
        text = f"Content-Type {given!r} is not one of {', '.join(allowed)}"
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)


def preferred_wait(http: web.Request) -> int | None:
    """Seconds of `Prefer: wait=N`, at most MAXIMUM_WAIT. What it does not know, RFC 7240 skips."""
    for part in ",".join(http.headers.getall("Prefer", ())).split(","):
        match = _WAIT.fullmatch(part.partition(";")[0].strip().lower())
        if match:
            return min(int(match[1]), MAXIMUM_WAIT)
    return None


def check_precondition(http: web.Request, what: str, revision: int | None) -> None:
    """If-Match against the newest revision (None: there is none); 412 where it is another."""
    given = ",".join(http.headers.getall("If-Match", ()))
    if not given:
        return
    wanted = [part.strip() for part in given.split(",")]
    if wanted == ["*"]:
        if revision is None:
            raise Refusal(HTTPStatus.PRECONDITION_FAILED, f"{what}: does not exist")
        return
    numbers = []
    for part in wanted:
        match = _ENTITY_TAG.fullmatch(part)
        if match is None:
            text = f'If-Match: {part!r} is not a revision in quotes, such as "3"'
            raise Refusal(HTTPStatus.BAD_REQUEST, text)
        numbers.append(int(match[1]))
    if revision not in numbers:
        found = "does not exist" if revision is None else f"is at revision {revision}"
        raise Refusal(
            HTTPStatus.PRECONDITION_FAILED,
            f"{what}: {found}, not at {given}",
            headers={} if revision is None else {"ETag": f'"{revision}"'},
        )
