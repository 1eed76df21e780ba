# SPDX-License-Identifier: Apache-2.0
"""Tokens: made, used, rotated, revoked; their secrets are kept nowhere."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.api.conftest import Serve
from tests.api.served import START, Api

FORM = re.compile(r"lictor_[a-z2-7]{12}_[A-Za-z0-9_-]{43}")


async def make(api: Api, **fields: Any) -> Any:
    answer = await api.ask("POST", "/v1/tokens", json={"name": "ci", "role": "viewer", **fields})
    assert answer.status == 201, answer.body
    return answer.body


def test_a_new_token_opens_what_its_role_may(serve: Serve) -> None:
    async def work(api: Api) -> None:
        made = await make(api, seconds=60)
        assert FORM.fullmatch(made["secret"])
        assert made["secret"].split("_")[1] == made["token"]["id"]
        assert made["token"]["expires"] == START + 60
        assert (await api.ask("GET", "/v1/nodes", token=made["secret"])).status == 200
        assert (await api.ask("GET", "/v1/tokens", token=made["secret"])).status == 403
        api.clock.now += 61
        assert (await api.ask("GET", "/v1/nodes", token=made["secret"])).status == 401

    serve(work)


def test_a_secret_is_shown_once_and_stored_nowhere(serve: Serve) -> None:
    folders = []

    async def work(api: Api) -> None:
        folders.append((api.folder, made := (await make(api))["secret"]))
        listed = await api.ask("GET", "/v1/tokens")
        assert made not in str(listed.body)
        assert made.split("_", 2)[2] not in str(listed.body)

    serve(work)
    [(folder, secret)] = folders
    for file in folder.glob("controlplane.db*"):
        assert secret.split("_", 2)[2].encode() not in file.read_bytes()


def test_a_revoked_token_opens_nothing_from_then_on(serve: Serve) -> None:
    async def work(api: Api) -> None:
        made = await make(api)
        name, secret = made["token"]["id"], made["secret"]
        assert (await api.ask("GET", "/v1/nodes", token=secret)).status == 200
        api.clock.now += 7
        assert (await api.ask("DELETE", f"/v1/tokens/{name}")).status == 204
        assert (await api.ask("GET", "/v1/nodes", token=secret)).status == 401
        api.clock.now += 7
        assert (await api.ask("DELETE", f"/v1/tokens/{name}")).status == 204
        listed = {row["id"]: row for row in (await api.ask("GET", "/v1/tokens")).body["tokens"]}
        assert listed[name]["revoked"] == START + 7
        assert (await api.ask("DELETE", "/v1/tokens/nobody")).status == 404

    serve(work)


def test_a_token_is_rotated_without_a_gap(serve: Serve) -> None:
    async def work(api: Api) -> None:
        old = await make(api, name="node-1", role="node", node="node-1")
        new = await make(api, name="node-1", role="node", node="node-1")
        path = "/v1/nodes/node-1/policies"
        for made in (old, new):
            assert (await api.ask("GET", path, token=made["secret"])).status == 200
        await api.ask("DELETE", f"/v1/tokens/{old['token']['id']}")
        assert (await api.ask("GET", path, token=old["secret"])).status == 401
        assert (await api.ask("GET", path, token=new["secret"])).status == 200

    serve(work)


@pytest.mark.parametrize(
    ("fields", "field", "cause"),
    [
        ({"role": "root"}, "role", "'viewer', 'operator', 'node' or 'tool'"),
        ({"role": "node"}, "node", "is missing"),
        ({"role": "node", "node": ""}, "node", "is missing"),
        ({"role": "viewer", "node": "node-1"}, "node", "only a token of the role node"),
        ({"seconds": 0}, "seconds", "greater than 0"),
        ({"name": ""}, "name", "at least 1 character"),
        ({"colour": "green"}, "colour", "not permitted"),
    ],
)
def test_a_wrong_wish_is_refused(
    fields: dict[str, Any], field: str, cause: str, serve: Serve
) -> None:
    async def work(api: Api) -> None:
        wish = {"name": "ci", "role": "viewer", **fields}
        answer = await api.ask("POST", "/v1/tokens", json=wish)
        assert answer.status == 400
        assert list(answer.faults) == [field]
        assert cause in answer.faults[field]
        assert len((await api.ask("GET", "/v1/tokens")).body["tokens"]) == 1

    serve(work)


def test_the_last_use_is_known_to_the_minute(serve: Serve) -> None:
    async def work(api: Api) -> None:
        made = await make(api)

        async def last_used() -> float | None:
            rows = (await api.ask("GET", "/v1/tokens")).body["tokens"]
            [found] = [row["last_used"] for row in rows if row["id"] == made["token"]["id"]]
            assert found is None or isinstance(found, float)
            return found

        assert await last_used() is None
        for elapsed, noted in ((5, 5), (20, 5), (45, 65 + 5)):
            api.clock.now += elapsed
            await api.ask("GET", "/v1/nodes", token=made["secret"])
            assert await last_used() == START + noted

    serve(work)


def test_changes_are_kept_with_who_made_them(serve: Serve) -> None:
    async def work(api: Api) -> None:
        made = await make(api, role="operator", name="alice")
        other = await api.ask(
            "POST", "/v1/tokens", json={"name": "bob", "role": "tool"}, token=made["secret"]
        )
        await api.ask("DELETE", f"/v1/tokens/{other.body['token']['id']}", token=made["secret"])
        entries = (await api.ask("GET", "/v1/audit")).body["entries"]
        found = [(entry["actor"].split(" (")[0], entry["action"]) for entry in entries]
        assert found == [
            ("alice", "token.revoke"), ("alice", "token.create"), ("the operator", "token.create"),
        ]  # fmt: skip
        [last] = (await api.ask("GET", "/v1/audit?limit=1")).body["entries"]
        assert last["object"] == other.body["token"]["id"]

    serve(work)
