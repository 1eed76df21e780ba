# SPDX-License-Identifier: Apache-2.0
"""Each operation asks for what it says, and every refusal comes with its reason."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from aiohttp import web
from pydantic import BaseModel

from controlplane.client import ApiClient, ApiError, ApiUnavailable
from controlplane.contract import records
from controlplane.listening import server_tls

TOKEN = "lictor_1_secret"
REVISION = {
    "name": "rl", "revision": 3, "removed": False, "text": "x", "author": "a", "created": 1.0,
}  # fmt: skip
ROLLOUT = {"acked": [], "pending": ["n"], "failed": []}
ACCEPTED = {"name": "rl", "revision": 3, "nodes": ROLLOUT}
EPISODE = {
    "id": "e/1", "state": "open", "created": 1.0, "closed": None, "node": None, "workload": None,
    "labels": {}, "calls": [], "incidents": [], "decisions": {},
    "completeness": {"complete": True, "events": 0, "missing": 0, "statement": "nothing missing"},
}  # fmt: skip
INCIDENT = {
    "id": "i", "node": "n", "boot": "b", "workload": "/w", "workload_id": 1, "episode": None,
    "call": None, "step": None, "tool": None, "kind": "egress", "severity": "low",
    "state": "open", "title": "t", "attribution": "kernel", "denied": 1, "audited": 0,
    "first": 1.0, "last": 1.0, "first_event": "x", "subject": "s", "targets": [], "rules": [],
}  # fmt: skip
NEW_TOKEN = {
    "token": {
        "id": "1", "name": "n", "role": "viewer", "node": None, "created": 1.0, "expires": None,
        "revoked": None, "last_used": None,
    },
    "secret": TOKEN,
}  # fmt: skip
CALL = records.ToolCall(
    node="n", boot="b", number=1, id="c", episode=None, step=None, tool=None, arguments={"a": 1},
    workload=7, binding="target:1", started=1.0, ended=None, ending=None,
)  # fmt: skip
REPORT = records.NodeReport(boot="b", version="1", enforcing=True, mode="lsm")

Work = Callable[[ApiClient], Awaitable[Any]]


class Server:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, answer: Any, status: int = 200) -> None:
        self.answer = answer
        self.status = status
        self.asked: list[tuple[str, str]] = []
        self.headers: Any = {}
        self.body = b""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.raw_path))
        self.headers, self.body = request.headers, await request.read()
        if isinstance(self.answer, web.HTTPException):
            raise self.answer
        if isinstance(self.answer, str):
            return web.Response(status=self.status, text=self.answer)
        if self.answer is None:
            return web.Response(status=204)
        return web.json_response(self.answer, status=self.status)

    def during(self, folder: Path, work: Work, token: Any = TOKEN) -> Any:
        """The result of `work` with a client of this server."""

        async def whole() -> Any:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.UnixSite(runner, str(folder / "api.sock")).start()
            try:
                async with ApiClient(f"unix:{folder}/api.sock", token=token) as client:
                    return await work(client)
            finally:
                await runner.cleanup()

        return asyncio.run(whole())


OPERATIONS: list[tuple[Work, str, str, Any]] = [
    (lambda c: c.put_policy("rl", "x"), "PUT", "/v1/policies/rl", ACCEPTED),
    (lambda c: c.delete_policy("rl"), "DELETE", "/v1/policies/rl", ACCEPTED),
    (lambda c: c.policies(), "GET", "/v1/policies", {"policies": []}),
    (lambda c: c.policy("a/../b?c"), "GET", "/v1/policies/a%2F..%2Fb%3Fc",
     {"policy": REVISION, "nodes": ROLLOUT}),
    (lambda c: c.policy_history("rl"), "GET", "/v1/policies/rl/revisions", {"revisions": []}),
    (lambda c: c.policy_revision("rl", 3), "GET", "/v1/policies/rl/revisions/3", REVISION),
    (lambda c: c.nodes(), "GET", "/v1/nodes", {"nodes": []}),
    (lambda c: c.workloads(), "GET", "/v1/workloads", {"workloads": []}),
    (lambda c: c.workloads(node="a b"), "GET", "/v1/workloads?node=a+b", {"workloads": []}),
    (lambda c: c.events(id="b-1-2", after=0), "GET", "/v1/events?id=b-1-2&after=0",
     {"events": [], "next": 0}),
    (lambda c: c.events(), "GET", "/v1/events", {"events": [], "next": 0}),
    (lambda c: c.events(episode="e 1&x=2", after=0, limit=5), "GET",
     "/v1/events?episode=e+1%26x%3D2&after=0&limit=5", {"events": [], "next": 0}),
    (lambda c: c.event("b-1-2"), "GET", "/v1/events/b-1-2",
     {"id": "b-1-2", "position": 1, "event": {}}),
    (lambda c: c.tool_calls(call="c", limit=3), "GET", "/v1/tool-calls?id=c&limit=3",
     {"calls": []}),
    (lambda c: c.incidents(state="open"), "GET", "/v1/incidents?state=open", {"incidents": []}),
    (lambda c: c.incident("i"), "GET", "/v1/incidents/i",
     {"incident": INCIDENT, "call": None, "events": [], "followed": []}),
    (lambda c: c.change_incident("i", records.IncidentChange(note="seen")), "PATCH",
     "/v1/incidents/i", INCIDENT),
    (lambda c: c.episodes(), "GET", "/v1/episodes", {"episodes": []}),
    (lambda c: c.put_episode("e/1", records.EpisodeBinding()), "PUT", "/v1/episodes/e%2F1",
     EPISODE),
    (lambda c: c.close_episode("e/1"), "POST", "/v1/episodes/e%2F1/close", EPISODE),
    (lambda c: c.episode("e/1"), "GET", "/v1/episodes/e%2F1", EPISODE),
    (lambda c: c.tokens(), "GET", "/v1/tokens", {"tokens": []}),
    (lambda c: c.create_token(records.TokenRequest(name="n", role="viewer")), "POST",
     "/v1/tokens", NEW_TOKEN),
    (lambda c: c.revoke_token("1"), "DELETE", "/v1/tokens/1", None),
    (lambda c: c.report("n", REPORT), "POST", "/v1/nodes/n/report", None),
    (lambda c: c.desired_policies("n"), "GET", "/v1/nodes/n/policies",
     {"version": 1, "policies": [REVISION]}),
    (lambda c: c.desired_policies("n", after=0, wait=1), "GET",
     "/v1/nodes/n/policies?after=0&wait=1", {"version": 1, "policies": []}),
    (lambda c: c.acknowledge("n", "b", []), "POST", "/v1/nodes/n/acknowledgements", None),
    (lambda c: c.ingest("n", "b"), "POST", "/v1/nodes/n/events", {"accepted": 1, "duplicates": 0}),
]  # fmt: skip


@pytest.mark.parametrize(("work", "method", "path", "answer"), OPERATIONS)
def test_an_operation_asks_for_its_path_and_gives_its_model(
    work: Work, method: str, path: str, answer: Any, tmp_path: Path
) -> None:
    server = Server(answer)
    found = server.during(tmp_path, work)
    assert server.asked == [(method, path)]
    assert server.headers["Authorization"] == f"Bearer {TOKEN}"
    if answer is None:
        assert found is None
    else:
        assert isinstance(found, BaseModel)
        assert found == type(found).model_validate(answer)


def test_every_operation_is_tried() -> None:
    methods = {name for name, value in vars(ApiClient).items() if callable(value)}
    tried = {name for work, *_ in OPERATIONS for name in work.__code__.co_names}
    assert {name for name in methods if not name.startswith("_")} <= tried


def test_a_policy_is_put_with_its_text_type_and_conditions(tmp_path: Path) -> None:
    server = Server(ACCEPTED)
    server.during(tmp_path, lambda c: c.put_policy("rl", "a: ä\n", wait=7, expected=2))
    assert server.body == "a: ä\n".encode()
    assert (server.headers["Prefer"], server.headers["If-Match"]) == ("wait=7", '"2"')
    assert server.headers["Content-Type"] == "application/yaml"
    server.during(tmp_path, lambda c: c.put_policy("rl", b"{}", content_type="application/json"))
    assert server.headers["Content-Type"] == "application/json"
    assert "Prefer" not in server.headers
    assert "If-Match" not in server.headers


def test_a_change_says_only_what_is_to_change(tmp_path: Path) -> None:
    server = Server(INCIDENT)
    change = records.IncidentChange(note="seen")
    server.during(tmp_path, lambda c: c.change_incident("i", change))
    assert server.body == b'{"note":"seen"}'


def test_a_batch_is_packed_with_whatever_text_it_holds(tmp_path: Path) -> None:
    server = Server({"accepted": 1, "duplicates": 0})
    event = {"path": "\udcff\n\0", "sequence": 1}
    server.during(tmp_path, lambda c: c.ingest("n", "b", events=[event], calls=[CALL], dropped=4))
    assert server.headers["Content-Type"] == "application/msgpack"
    assert msgpack.unpackb(server.body, unicode_errors="surrogateescape") == {
        "version": 1, "boot": "b", "events": [event], "calls": [CALL.model_dump()], "dropped": 4,
    }  # fmt: skip


@pytest.mark.parametrize("odd", [1 << 70, object(), "\ud800"])
def test_what_cannot_be_packed_is_no_fault_of_the_server(odd: Any, tmp_path: Path) -> None:
    server = Server(None)
    with pytest.raises(ValueError, match=r"packed|surrogates"):
        server.during(tmp_path, lambda c: c.ingest("n", "b", events=[{"odd": odd}]))
    assert server.asked == []


def test_a_token_may_be_asked_for_each_time_or_be_missing(tmp_path: Path) -> None:
    given = iter(["one", "two", None])
    server = Server({"nodes": []})
    seen = []

    async def work(client: ApiClient) -> None:
        for _ in range(3):
            await client.nodes()
            seen.append(server.headers.get("Authorization"))

    server.during(tmp_path, work, token=lambda: next(given))
    assert seen == ["Bearer one", "Bearer two", None]


def test_a_problem_is_raised_with_every_fault(tmp_path: Path) -> None:
    problem = {
        "title": "Bad Request", "status": 400, "detail": "policy rl: 2 faults", "new": 1,
        "faults": [{"field": "spec.mode", "message": "is missing"},
                   {"field": "spec.egress", "message": "is odd", "line": 3}],
    }  # fmt: skip
    with pytest.raises(ApiError) as caught:
        Server(problem, 400).during(tmp_path, lambda c: c.put_policy("rl", "x"))
    assert str(caught.value) == ("policy rl: 2 faults\nspec.mode: is missing\nspec.egress: is odd")
    assert (caught.value.status, caught.value.problem.faults[1].line) == (400, 3)


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [("<html>down</html>", 502, "<html>down</html>"), ("", 503, "Service Unavailable")],
)
def test_a_refusal_of_something_in_between_is_told_as_it_is(
    answer: str, status: int, text: str, tmp_path: Path
) -> None:
    with pytest.raises(ApiError) as caught:
        Server(answer, status).during(tmp_path, lambda c: c.nodes())
    assert (str(caught.value), caught.value.status) == (text, status)


def test_a_redirection_is_not_followed(tmp_path: Path) -> None:
    server = Server(web.HTTPFound("http://localhost:1/elsewhere"))
    with pytest.raises(ApiError) as caught:
        server.during(tmp_path, lambda c: c.nodes())
    assert caught.value.status == 302
    assert len(server.asked) == 1


def test_fields_of_a_newer_server_are_passed_over(tmp_path: Path) -> None:
    answer = {"version": 1, "policies": [{**REVISION, "signed": True}], "more": 1}
    found = Server(answer).during(tmp_path, lambda c: c.desired_policies("n"))
    assert found.policies[0].revision == 3


@pytest.mark.parametrize("answer", [{"nodes": 7}, [], "text"])
def test_an_answer_that_is_not_understood_is_named(answer: Any, tmp_path: Path) -> None:
    with pytest.raises(ApiUnavailable, match=r"api\.sock: the answer is no NodeList: "):
        Server(answer).during(tmp_path, lambda c: c.nodes())


def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    async def work(address: str) -> None:
        async with ApiClient(address) as client:
            await client.nodes()

    with pytest.raises(ApiUnavailable) as caught:
        asyncio.run(work(f"unix:{tmp_path}/absent.sock"))
    assert str(caught.value) == f"unix:{tmp_path}/absent.sock: No such file or directory"
    with pytest.raises(ApiUnavailable, match=r"^http://127\.0\.0\.1:1: Connect"):
        asyncio.run(work("http://127.0.0.1:1"))


def test_https_needs_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip

    async def whole() -> None:
        server = Server({"nodes": []})
        app = web.Application()
        app.router.add_get("/v1/nodes", server._handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_tls(certificate, key))
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with ApiClient(f"https://127.0.0.1:{port}", ca_file=certificate) as client:
                assert (await client.nodes()).nodes == []
            async with ApiClient(f"https://127.0.0.1:{port}", token=TOKEN) as client:
                with pytest.raises(ApiUnavailable, match="certificate"):
                    await client.nodes()
            assert len(server.asked) == 1
        finally:
            await runner.cleanup()

    asyncio.run(whole())
