# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document: valid, whole, and in step with what is served.

Every answer that any test of this folder gets is held against it, see conformance.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from controlplane.app import create_app
from controlplane.openapi import build_document
from controlplane.rest.table import ROUTES
from controlplane.settings import ControlPlaneSettings
from tests.api.conftest import Serve
from tests.api.served import Api

DOCUMENT = build_document(ROUTES)
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def test_the_document_is_valid() -> None:
    errors = [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()]
    assert errors == []


def test_the_document_is_served(serve: Serve) -> None:
    async def work(api: Api) -> None:
        assert (await api.ask("GET", "/v1/openapi.json", token=None)).body == DOCUMENT

    serve(work)


def test_the_document_and_the_router_have_the_same_operations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ControlPlaneSettings.model_config, "env_file", None)
    app = create_app(ControlPlaneSettings())
    routed = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert {(method, path) for method, path, _ in OPERATIONS} == routed


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[each[2]["operationId"] for each in OPERATIONS]
)
def test_an_operation_says_who_may_and_how_it_refuses(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    refusals = {status for status in operation["responses"] if int(status) >= 400}
    for status in refusals:
        content = operation["responses"][status]["content"]
        assert list(content) == ["application/problem+json"]
    assert bool(operation["security"]) == ("x-roles" in operation) == ("401" in refusals)
    assert ("requestBody" in operation) == (method in ("put", "patch") or "413" in refusals)
    assert operation["summary"].endswith(".")


def test_a_policy_is_described_for_editors() -> None:
    body = DOCUMENT["paths"]["/v1/policies/{name}"]["put"]["requestBody"]
    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Policy"}
    assert "Spec" in DOCUMENT["components"]["schemas"]


def test_the_parameters_of_events_are_there_with_their_limits() -> None:
    found = {each["name"]: each for each in DOCUMENT["paths"]["/v1/events"]["get"]["parameters"]}
    assert found["limit"]["schema"] == {
        "default": 100, "maximum": 1000, "minimum": 1, "type": "integer",
    }  # fmt: skip
    names = "id node workload episode call policy kind decision after limit"
    assert set(found) == set(names.split())
