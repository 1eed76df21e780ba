# SPDX-License-Identifier: Apache-2.0
"""Requests that no operation takes: too large, of another type, to nowhere, not even HTTP."""

from __future__ import annotations

import asyncio
import gzip
from io import BytesIO
from typing import Any

import pytest

from controlplane.rest.table import ROUTES
from controlplane.storage import nodes
from tests.api import samples
from tests.api.conftest import Serve
from tests.api.served import Api

LIMITS = {
    "PUT /v1/policies/rl": (1 << 20, "application/yaml"),
    "POST /v1/nodes/node-1/events": (16 << 20, "application/msgpack"),
    "POST /v1/nodes/node-1/report": (4 << 20, "application/json"),
    "POST /v1/nodes/node-1/acknowledgements": (4 << 20, "application/json"),
    "PUT /v1/episodes/ep-1": (256 << 10, "application/json"),
    "PATCH /v1/incidents/one": (256 << 10, "application/json"),
    "POST /v1/tokens": (256 << 10, "application/json"),
}


def name_of(operation: str) -> str:
    return operation.replace("/", " ")


async def chunks(size: int) -> Any:
    for _ in range(size >> 16):
        yield b" " * (1 << 16)


@pytest.mark.parametrize("operation", LIMITS, ids=name_of)
def test_a_body_beyond_the_limit_is_not_read(operation: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        method, path = operation.split()
        limit, kind = LIMITS[operation]
        headers = {"Content-Type": kind}
        for data in (BytesIO(b" " * (limit + 1)), chunks(limit + (1 << 16))):
            answer = await api.ask(method, path, data=data, headers=headers)
            assert answer.status == 413
            assert answer.headers["Connection"] == "close"
            assert answer.body["detail"] == f"the body is larger than {limit} bytes"
        # One that fits is looked at: spaces are no document.
        fits = await api.ask(method, path, data=BytesIO(b" " * limit), headers=headers)
        assert fits.status == 400

    serve(work)


def test_a_small_body_that_swells_is_cut_off(serve: Serve) -> None:
    async def work(api: Api) -> None:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        swollen = gzip.compress(b" " * (64 << 20))
        assert len(swollen) < 256 << 10
        answer = await api.ask("POST", "/v1/tokens", data=swollen, headers=headers)
        assert answer.status in (400, 413)
        small = gzip.compress(b'{"name": "ci", "role": "viewer"}')
        answer = await api.ask("POST", "/v1/tokens", data=small, headers=headers)
        assert answer.status == 201

    serve(work)


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.method == "GET"], ids=lambda r: name_of(r.path)
)
def test_an_unknown_parameter_is_refused_everywhere(route: Any, serve: Serve) -> None:
    async def work(api: Api) -> None:
        path = route.path
        for variable in ("{name}", "{node}", "{id}"):
            path = path.replace(variable, "one")
        path = path.replace("{revision}", "1")
        answer = await api.ask("GET", f"{path}?colour=green&x")
        assert answer.status == 400
        assert set(answer.faults) == {"colour", "x"}

    serve(work)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "json", ""])
def test_a_body_of_another_type_is_refused(kind: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        headers = {"Content-Type": kind}
        answer = await api.ask("POST", "/v1/tokens", data=b"{}", headers=headers)
        assert answer.status == 415
        assert "is not one of application/json" in answer.body["detail"]

    serve(work)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"", "is not JSON"),
        (b"nonsense", "is not JSON"),
        (b"[]", "valid dictionary"),
        (b'{"name": "a", "name": "b", "role": "viewer"}', "field 'name' is written twice"),
        (b'{"name": "\xff"}', "is not UTF-8: byte 0xff"),
        ('{"name": "x", "role": "viewer"}'.encode("utf-16"), "is not UTF-8"),
        (b"\xef\xbb\xbf{}", "is not JSON"),
        (b'{"seconds": 1e999}', "beyond 64 bits"),
        (b'{"seconds": 99999999999999999999}', "beyond 64 bits"),
        (b'{"seconds": ' + b"9" * 5000 + b"}", "beyond 64 bits"),
        (b'{"seconds": NaN}', "NaN is not a number"),
        (b'{"a":' * 50_000, "nested too deeply"),
    ],
    ids=range(12),
)
def test_a_body_that_is_not_plain_json_is_refused(body: bytes, cause: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        headers = {"Content-Type": "application/json"}
        answer = await api.ask("POST", "/v1/tokens", data=body, headers=headers)
        assert answer.status == 400
        [fault] = answer.body["faults"]
        assert cause in fault["message"]

    serve(work)


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/nodes", "/v1/nodes/", "/v1//nodes", "/%2e%2e/x"])
def test_a_path_that_is_not_there_is_a_problem(path: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        answer = await api.ask("GET", path)
        assert answer.status == 404
        assert answer.headers["Server"] == "lictor"
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "/v1/openapi.json" in answer.body["detail"]

    serve(work)


def test_a_method_that_is_not_there_is_a_problem(serve: Serve) -> None:
    async def work(api: Api) -> None:
        answer = await api.ask("PATCH", "/v1/policies/rl")
        assert answer.status == 405
        assert answer.headers["Allow"] == "DELETE, GET, PUT"
        assert answer.body["status"] == 405

    serve(work)


def test_a_failure_of_ours_is_a_problem_and_hides_its_cause(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("secret of ours")

    async def work(api: Api) -> None:
        monkeypatch.setattr(nodes, "all", fail)
        answer = await api.ask("GET", "/v1/nodes")
        assert answer.status == 500
        assert "secret" not in str(answer.body)
        assert (await api.ask("GET", "/v1/policies")).status == 200

    serve(work)


def test_a_database_that_fails_is_said_so(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(api: Api) -> None:
        async with api.services.database.writing() as connection:
            await connection.exec_driver_sql("DROP TABLE episodes")
        answer = await api.ask("GET", "/v1/episodes")
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "1"
        assert "episodes" not in answer.body["detail"]

    serve(work)


def test_health_readiness_and_counts(serve: Serve) -> None:
    async def work(api: Api) -> None:
        assert (await api.ask("GET", "/healthz", token=None)).body == "ok\n"
        assert (await api.ask("GET", "/readyz", token=None)).body == "ok\n"
        await api.ask("POST", "/v1/nodes/node-1/report", json=samples.report(spool_dropped=7))
        await api.ship(samples.batch(*map(samples.event, (1, 2))))
        await api.ship(samples.batch(samples.event(2)))
        await api.ask("GET", "/v1/nodes", token=None)
        text = (await api.ask("GET", "/metrics")).body
        for line in (
            "lictor_ingest_events_total 2.0",
            "lictor_ingest_duplicates_total 1.0",
            "lictor_nodes_spool_dropped 7.0",
            'lictor_nodes{enforcing="true",live="true"} 1.0',
            "lictor_api_refused_credentials_total 1.0",
            'lictor_api_requests_total{method="GET",route="/v1/nodes",status="401"} 1.0',
        ):
            assert line in text.splitlines()
        async with api.services.database.writing() as connection:
            await connection.exec_driver_sql("DROP TABLE counters")
        assert (await api.ask("GET", "/readyz", token=None)).status == 503
        assert (await api.ask("GET", "/healthz", token=None)).status == 200

    serve(work)


def test_no_client_makes_series_at_will(serve: Serve) -> None:
    async def work(api: Api) -> None:
        before = len((await api.ask("GET", "/metrics")).body.splitlines())
        for method in ("DELETE", "PATCH", "PROPFIND", "LOCK", "REPORT"):
            assert (await api.ask(method, "/v1/nodes")).status == 405
        for number in range(20):
            await api.ask("GET", f"/v1/nowhere/{number}")
            await api.ask("GET", f"/v1/episodes/nobody-{number}")
        after = len((await api.ask("GET", "/metrics")).body.splitlines())
        assert after - before < 80

    serve(work)


def test_what_is_not_http_ends_only_its_own_connection(serve: Serve) -> None:
    async def work(api: Api) -> None:
        reader, writer = await asyncio.open_unix_connection(str(api.socket))
        writer.write(b"\x16\x03\x01 not http\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert (await api.ask("GET", "/healthz", by_socket=True)).status == 200

    serve(work)
