# SPDX-License-Identifier: Apache-2.0
"""Incidents and episodes: what came of the events, and what people say to it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api import samples
from tests.api.conftest import Serve
from tests.api.served import START, Api


async def one(api: Api, query: str = "") -> dict[str, Any]:
    [incident] = (await api.ask("GET", f"/v1/incidents{query}")).body["incidents"]
    assert isinstance(incident, dict)
    return incident


def test_events_of_one_call_are_one_incident_with_its_story(serve: Serve) -> None:
    async def work(api: Api) -> None:
        allowed = samples.event(3, kind="exec", decision="allowed", object={"path": "/bin/ls"})
        await api.ship(
            samples.batch(samples.event(1), samples.event(2), allowed, calls=(samples.call(),))
        )
        incident = await one(api, "?state=open&episode=ep-1")
        assert (incident["denied"], incident["tool"], incident["kind"]) == (2, "shell", "egress")
        detail = (await api.ask("GET", f"/v1/incidents/{incident['id']}")).body
        assert detail["incident"] == incident
        assert detail["call"]["arguments"] == {"command": "curl 198.51.100.7:22"}
        assert [event["event"]["sequence"] for event in detail["events"]] == [1, 2]
        assert [event["event"]["sequence"] for event in detail["followed"]] == [3]
        assert (await api.ask("GET", "/v1/incidents/nobody")).status == 404

    serve(work)


@pytest.mark.parametrize("state", ["acknowledged", "false-positive"])
def test_a_judgement_outlives_the_next_event(state: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        await api.ship(samples.batch(samples.event(1)))
        name = (await one(api))["id"]
        change = {"state": state, "note": "seen by me"}
        answer = await api.ask("PATCH", f"/v1/incidents/{name}", json=change)
        assert (answer.body["state"], answer.body["note"]) == (state, "seen by me")
        await api.ship(samples.batch(samples.event(2)))
        after = await one(api)
        assert (after["state"], after["note"], after["denied"]) == (state, "seen by me", 2)
        assert (await api.ask("GET", "/v1/incidents?state=open")).body == {"incidents": []}
        await api.ask("PATCH", f"/v1/incidents/{name}", json={"state": "open"})
        assert (await one(api, "?state=open"))["note"] == "seen by me"

    serve(work)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"state": "closed"}, "state"), ({"note": 1}, "note"), ({"note": "x" * 10_001}, "note"),
        ({"severity": "low"}, "severity"), ({"note": "\ud800"}, "note"),
    ],
)  # fmt: skip
def test_a_wrong_judgement_is_refused(change: dict[str, Any], field: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        await api.ship(samples.batch(samples.event(1)))
        before = await one(api)
        answer = await api.ask("PATCH", f"/v1/incidents/{before['id']}", json=change)
        assert answer.status == 400
        assert list(answer.faults) == [field]
        assert await one(api) == before
        unknown = await api.ask("PATCH", "/v1/incidents/nobody", json={"note": "x"})
        assert unknown.status == 404

    serve(work)


def test_an_episode_is_bound_closed_and_read(serve: Serve) -> None:
    async def work(api: Api) -> None:
        tool = await api.token("tool")
        binding = {"node": samples.NODE, "workload": "/rl.slice/one", "labels": {"run": "7"}}
        put = await api.ask("PUT", "/v1/episodes/ep-1", json=binding, token=tool)
        assert (put.status, put.body["state"], put.body["labels"]) == (200, "open", {"run": "7"})
        await api.ship(samples.batch(samples.event(1), calls=(samples.call(),)))
        api.clock.now += 5
        closed = await api.ask("POST", "/v1/episodes/ep-1/close", token=tool)
        assert (closed.body["state"], closed.body["closed"]) == ("closed", START + 5)
        await api.ship(samples.batch(samples.event(2)))
        record = (await api.ask("GET", "/v1/episodes/ep-1", token=tool)).body
        assert record["decisions"] == {"denied": 2}
        assert [call["id"] for call in record["calls"]] == ["call_1"]
        assert len(record["incidents"]) == 1
        assert record["completeness"]["complete"] is True
        [listed] = (await api.ask("GET", "/v1/episodes")).body["episodes"]
        assert (listed["id"], listed["incidents"]) == ("ep-1", 1)

    serve(work)


def test_an_episode_with_a_gap_says_so(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await api.ship(samples.batch(samples.event(1), samples.event(4)))
        found = (await api.ask("GET", "/v1/episodes/ep-1")).body["completeness"]
        assert (found["complete"], found["missing"]) == (False, 2)

    serve(work)


def test_an_episode_is_known_by_its_exact_name(serve: Serve) -> None:
    async def work(api: Api) -> None:
        for name in ("a%2Fb", "%20", "%C3%A9", "a%3Fb%23c", "..."):
            answer = await api.ask("PUT", f"/v1/episodes/{name}", json={})
            assert answer.status == 200, (name, answer.body)
            assert (await api.ask("GET", f"/v1/episodes/{name}")).body == answer.body
        names = {row["id"] for row in (await api.ask("GET", "/v1/episodes")).body["episodes"]}
        assert names == {"a/b", " ", "é", "a?b#c", "..."}
        assert (await api.ask("GET", "/v1/episodes/nobody")).status == 404
        assert (await api.ask("POST", "/v1/episodes/nobody/close")).status == 404

    serve(work)


def test_an_odd_name_in_a_path_breaks_nothing(serve: Serve) -> None:
    async def work(api: Api) -> None:
        for name in ("%FF", "%ED%A0%80", "%00", "x" * 2000):
            for path in ("/v1/episodes/", "/v1/events/", "/v1/incidents/", "/v1/policies/"):
                answer = await api.ask("GET", path + name)
                assert answer.status in (400, 404), (path + name, answer.body)

    serve(work)
