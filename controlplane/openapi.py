# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 3.1 document, made from the very table that the requests are routed by."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from controlplane.contract.records import API_VERSION, Problem
from controlplane.rest.problem import MEDIA_TYPE
from controlplane.rest.route import JSON, Body, Route

Json = dict[str, Any]

REFERENCE = "#/components/schemas/{model}"
BEARER = "token"
DOCUMENT = web.AppKey("DOCUMENT", dict[str, Any])
# Names in braces, as aiohttp and OpenAPI both write them.
_VARIABLE = re.compile(r"\{(\w+)\}")


def build_document(routes: Iterable[Route]) -> Json:
    """The document of these routes."""
    routes = tuple(routes)
    models: set[type[BaseModel]] = {Problem}
    for route in routes:
        models.update(_models(route))
    names, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=REFERENCE,
    )
    references = {model: names[model, "validation"] for model in models}
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lictor control plane",
            "version": str(API_VERSION),
            "description": "Policies, events and incidents; docs/api.md explains them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _without_defaults(schemas["$defs"]),
            "securitySchemes": {
                BEARER: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "lictor_ID_SECRET. On the Unix socket root needs none.",
                }
            },
        },
    }


def _without_defaults(schema: Any) -> Any:
    """Schemas without defaults: those of a policy's parts are in normalised form, which is not
    what a document may hold, and a generated client has no use for any."""
    if isinstance(schema, list):
        return [_without_defaults(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _without_defaults(each) for name, each in schema.items() if name != "default"}


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _models(route: Route) -> list[type[BaseModel]]:
    models = [model for model in route.answers.values() if model is not None]
    if route.body is not None:
        models += [model for model in (route.body.model, route.body.schema) if model is not None]
    return models


def _operation(route: Route, references: dict[type[BaseModel], Any]) -> Json:
    operation: Json = {
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {
            str(int(status)): _answer(route, status, references) for status in _statuses(route)
        },
        "security": [] if route.roles is None else [{BEARER: []}],
    }
    if route.roles is not None:
        operation["x-roles"] = sorted(route.roles)
    if route.body is not None:
        operation["requestBody"] = _request_body(route.body, references)
    return operation


def _parameters(route: Route) -> list[Json]:
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _VARIABLE.findall(route.path)
    ]
    for name, schema in route.query.model_json_schema().get("properties", {}).items():
        schema = {key: value for key, value in schema.items() if key != "title"}
        if schema.get("default", ...) is None:
            del schema["default"]
        parameters.append({"name": name, "in": "query", "required": False, "schema": schema})
    for name, description in route.headers.items():
        parameters.append(
            {
                "name": name,
                "in": "header",
                "required": False,
                "description": description,
                "schema": {"type": "string"},
            }
        )
    return parameters


def _request_body(body: Body, references: dict[type[BaseModel], Any]) -> Json:
    model = body.model or body.schema
    schema = references[model] if model is not None else {}
    request_body: Json = {
        "required": True,
        "content": {media_type: {"schema": schema} for media_type in body.media_types},
    }
    if body.summary:
        request_body["description"] = body.summary
    return request_body


def refusals_of(route: Route) -> set[HTTPStatus]:
    """Every status by which the route may refuse."""
    statuses = {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.SERVICE_UNAVAILABLE,
        *route.refusals,
    }
    if route.roles is not None:
        statuses |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    if route.body is not None:
        statuses |= {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
    return statuses


def _statuses(route: Route) -> list[HTTPStatus]:
    return sorted({*route.answers, *refusals_of(route)})


def _answer(route: Route, status: HTTPStatus, references: dict[type[BaseModel], Any]) -> Json:
    answer: Json = {"description": status.phrase}
    if status not in route.answers:
        answer["content"] = {MEDIA_TYPE: {"schema": references[Problem]}}
        return answer
    model = route.answers[status]
    if model is not None:
        answer["content"] = {JSON: {"schema": references[model]}}
    elif status is HTTPStatus.OK:
        schema = {"type": "object"} if route.media_type == JSON else {"type": "string"}
        answer["content"] = {route.media_type.partition(";")[0]: {"schema": schema}}
    return answer
