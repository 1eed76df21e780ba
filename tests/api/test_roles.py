# SPDX-License-Identifier: Apache-2.0
"""Who may do what: every route with every role, and with every kind of token that is no good."""

from __future__ import annotations

import os
from typing import Any

import pytest

from controlplane import security
from controlplane.contract.records import Role
from controlplane.rest.table import ROUTES
from tests.api import samples
from tests.api.conftest import Serve
from tests.api.served import START, Answer, Api

# Said once more, by hand: a slip in the table of routes shall not be its own test.
ALLOWED = {
    "GET /v1/policies": "viewer operator",
    "PUT /v1/policies/{name}": "operator",
    "GET /v1/policies/{name}": "viewer operator",
    "DELETE /v1/policies/{name}": "operator",
    "GET /v1/policies/{name}/revisions": "viewer operator",
    "GET /v1/policies/{name}/revisions/{revision}": "viewer operator",
    "GET /v1/nodes": "viewer operator",
    "POST /v1/nodes/{node}/report": "operator node",
    "GET /v1/nodes/{node}/policies": "operator node",
    "POST /v1/nodes/{node}/acknowledgements": "operator node",
    "POST /v1/nodes/{node}/events": "operator node",
    "GET /v1/workloads": "viewer operator",
    "GET /v1/events": "viewer operator",
    "GET /v1/events/{id}": "viewer operator",
    "GET /v1/tool-calls": "viewer operator",
    "GET /v1/incidents": "viewer operator",
    "GET /v1/incidents/{id}": "viewer operator",
    "PATCH /v1/incidents/{id}": "operator",
    "GET /v1/episodes": "viewer operator",
    "PUT /v1/episodes/{id}": "operator tool",
    "GET /v1/episodes/{id}": "viewer operator tool",
    "POST /v1/episodes/{id}/close": "operator tool",
    "GET /v1/tokens": "operator",
    "POST /v1/tokens": "operator",
    "DELETE /v1/tokens/{id}": "operator",
    "GET /v1/audit": "operator",
    "GET /healthz": "everybody",
    "GET /readyz": "everybody",
    "GET /metrics": "viewer operator",
    "GET /v1/openapi.json": "everybody",
}
ROLES: tuple[Role, ...] = ("viewer", "operator", "node", "tool")


def name_of(operation: str) -> str:
    return operation.replace("/v1", "").replace("/", " ").replace("  ", " ")


def content(operation: str) -> dict[str, Any]:
    """What a request to this operation may carry so that it succeeds."""
    match operation:
        case "PUT /v1/policies/{name}":
            return {"data": samples.policy(), "headers": {"Content-Type": "application/yaml"}}
        case "POST /v1/nodes/{node}/report":
            return {"json": samples.report()}
        case "POST /v1/nodes/{node}/acknowledgements":
            return {"json": {"boot": samples.BOOT, "acknowledgements": []}}
        case "POST /v1/nodes/{node}/events":
            headers = {"Content-Type": "application/msgpack"}
            return {"data": samples.batch(samples.event()), "headers": headers}
        case "PATCH /v1/incidents/{id}":
            return {"json": {"note": "seen"}}
        case "PUT /v1/episodes/{id}":
            return {"json": {}}
        case "POST /v1/tokens":
            return {"json": {"name": "new", "role": "viewer"}}
    return {}


async def filled(api: Api) -> dict[str, str]:
    """Something of each kind; the values of the paths' variables."""
    assert (await api.put("rl", samples.policy())).status == 202
    batch = samples.batch(samples.event(), calls=(samples.call(),))
    assert (await api.ship(batch)).status == 200
    [event] = (await api.ask("GET", "/v1/events")).body["events"]
    [incident] = (await api.ask("GET", "/v1/incidents")).body["incidents"]
    made = await api.ask("POST", "/v1/tokens", json={"name": "spare", "role": "viewer"})
    return {
        "policies": "rl",
        "nodes": samples.NODE,
        "events": event["id"],
        "incidents": incident["id"],
        "episodes": "ep-1",
        "tokens": made.body["token"]["id"],
    }


async def attempt(
    api: Api, operation: str, places: dict[str, str], token: str | None, node: str | None = None
) -> Answer:
    method, path = operation.split()
    kind = path.split("/")[2] if path.startswith("/v1/") else ""
    place = node if node is not None and kind == "nodes" else places.get(kind, "")
    for variable in ("{name}", "{node}", "{id}"):
        path = path.replace(variable, place)
    path = path.replace("{revision}", "1")
    return await api.ask(method, path, token=token, **content(operation))


def test_the_table_here_names_every_route() -> None:
    assert set(ALLOWED) == {f"{route.method} {route.path}" for route in ROUTES}


@pytest.mark.parametrize("operation", ALLOWED, ids=name_of)
def test_a_role_may_do_what_it_is_for_and_nothing_else(operation: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        places = await filled(api)
        for role in ROLES:
            allowed = ALLOWED[operation] == "everybody" or role in ALLOWED[operation].split()
            answer = await attempt(api, operation, places, await api.token(role))
            if allowed:
                assert answer.status in (200, 201, 202, 204), (role, answer.body)
            else:
                assert answer.status == 403, (role, answer.body)
                assert f"has the role {role}" in answer.body["detail"]

    serve(work)


@pytest.mark.parametrize("operation", ALLOWED, ids=name_of)
def test_who_proves_no_identity_gets_nothing(operation: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        places = await filled(api)
        good = await api.token("operator")
        wrong = {
            "no token": None,
            "garbage": "garbage",
            "unknown": "lictor_" + "a" * 12 + "_" + "b" * 43,
            "another secret": good[:-1] + ("A" if good[-1] != "A" else "B"),
            "revoked": await api.token("operator", revoked=START - 1),
            "expired": await api.token("operator", expires=START),
        }
        for kind, token in wrong.items():
            answer = await attempt(api, operation, places, token)
            if ALLOWED[operation] == "everybody":
                assert answer.status == 200
                continue
            assert answer.status == 401, kind
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="lictor"'
            assert token is None or token[20:] not in answer.body["detail"] or kind == "garbage"

    serve(work)


@pytest.mark.parametrize("operation", [name for name in ALLOWED if "/nodes/" in name], ids=name_of)
def test_a_nodes_token_speaks_for_no_other_node(operation: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        places = await filled(api)
        token = await api.token("node", node=samples.NODE)
        answer = await attempt(api, operation, places, token, node="node-2")
        assert answer.status == 403
        assert answer.body["detail"].endswith("speaks for node node-1, not for node-2")

    serve(work)


def test_a_token_expires_while_it_is_used(serve: Serve) -> None:
    async def work(api: Api) -> None:
        token = await api.token("viewer", expires=START + 10)
        assert (await api.ask("GET", "/v1/nodes", token=token)).status == 200
        api.clock.now += 10
        refused = await api.ask("GET", "/v1/nodes", token=token)
        assert refused.status == 401
        assert "has expired" in refused.body["detail"]

    serve(work)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic bGljdG9yOg==", "lictor_a_b", "Bearer lictor_é", "Token x"],
)
def test_a_header_of_another_form_is_refused(header: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        answer = await api.ask("GET", "/v1/nodes", token=None, headers={"Authorization": header})
        assert answer.status == 401

    serve(work)


def test_root_on_the_socket_needs_no_token(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(api: Api) -> None:
        monkeypatch.setattr(security, "ROOT", os.getuid())
        allowed = await api.ask("GET", "/v1/tokens", token=None, by_socket=True)
        assert allowed.status == 200
        # The same user over TCP proves nothing.
        assert (await api.ask("GET", "/v1/tokens", token=None)).status == 401
        monkeypatch.setattr(security, "ROOT", os.getuid() + 1)
        refused = await api.ask("GET", "/v1/tokens", token=None, by_socket=True)
        assert refused.status == 401

    serve(work)


def test_root_with_a_token_is_what_the_token_is(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(api: Api) -> None:
        monkeypatch.setattr(security, "ROOT", os.getuid())
        viewer = await api.token("viewer")
        refused = await api.ask("GET", "/v1/tokens", token=viewer, by_socket=True)
        assert refused.status == 403
        revoked = await api.token("operator", revoked=START)
        assert (await api.ask("GET", "/v1/tokens", token=revoked, by_socket=True)).status == 401

    serve(work)
