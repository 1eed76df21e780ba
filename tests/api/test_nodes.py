# SPDX-License-Identifier: Apache-2.0
"""What nodes tell and fetch: reports, long polls, acknowledgements."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.api import samples
from tests.api.conftest import Serve
from tests.api.served import START, Api, until

POLICIES = f"/v1/nodes/{samples.NODE}/policies"
REPORT = f"/v1/nodes/{samples.NODE}/report"


def test_a_node_lives_as_long_as_it_reports(serve: Serve) -> None:
    async def work(api: Api) -> None:
        report = samples.report(workloads=[samples.workload(covered=False, reason="no policy")])
        await api.ask("POST", REPORT, json=report)
        [node] = (await api.ask("GET", "/v1/nodes")).body["nodes"]
        assert (node["name"], node["live"], node["last_seen"]) == (samples.NODE, True, START)
        assert node["report"]["enforcing"] is True
        [found] = (await api.ask("GET", "/v1/workloads")).body["workloads"]
        assert found["node"] == samples.NODE
        assert found["workload"]["reason"] == "no policy"
        assert (await api.ask("GET", f"/v1/workloads?node={samples.NODE}")).body == {
            "workloads": [found]
        }
        assert (await api.ask("GET", "/v1/workloads?node=other")).body == {"workloads": []}
        api.clock.now += 31
        [node] = (await api.ask("GET", "/v1/nodes")).body["nodes"]
        assert node["live"] is False

    serve(work)


def test_a_node_enforces_as_long_as_it_says_so(serve: Serve) -> None:
    async def node(api: Api) -> tuple[bool, float, float]:
        [found] = (await api.ask("GET", "/v1/nodes")).body["nodes"]
        text = (await api.ask("GET", "/metrics")).body
        gauge = f'lictor_node_enforcing{{node="{samples.NODE}"}} {int(found["enforcing"])}.0'
        assert gauge in text.splitlines()
        return found["enforcing"], found["report"]["enforcing_since"], found["report"]["canary_at"]

    async def work(api: Api) -> None:
        said = {"enforcing_since": START - 900, "canary_at": START - 10}
        await api.ask("POST", REPORT, json=samples.report(**said))
        assert await node(api) == (True, START - 900, START - 10)
        problem = "the canary was not denied: {'exec': 'started'}"
        said = {"enforcing_since": START, "canary_at": START}
        report = samples.report(enforcing=False, problem=problem, **said)
        await api.ask("POST", REPORT, json=report)
        assert await node(api) == (False, START, START)
        await api.ask("POST", REPORT, json=samples.report(**said))
        assert (await node(api))[0] is True
        # Silent: nobody knows whether it still does.
        api.clock.now += 31
        assert (await node(api))[0] is False

    serve(work)


def test_a_report_need_not_say_since_when(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await api.ask("POST", REPORT, json=samples.report())
        [node] = (await api.ask("GET", "/v1/nodes")).body["nodes"]
        assert (node["enforcing"], node["report"]["canary_at"]) == (True, None)

    serve(work)


def test_a_report_with_thousands_of_workloads_is_taken(serve: Serve) -> None:
    async def work(api: Api) -> None:
        rows = [samples.workload(id=number, path=f"/rl.slice/{number}") for number in range(5000)]
        answer = await api.ask("POST", REPORT, json=samples.report(workloads=rows))
        assert answer.status == 204, answer.body
        found = (await api.ask("GET", "/v1/workloads")).body["workloads"]
        assert len(found) == 5000

    serve(work)


def test_a_report_is_refused_with_every_fault(serve: Serve) -> None:
    async def work(api: Api) -> None:
        wrong = samples.report(
            enforcing="maybe", weather="fine", workloads=[samples.workload(id="x")]
        )
        answer = await api.ask("POST", REPORT, json=wrong)
        assert answer.status == 400
        assert set(answer.faults) == {"enforcing", "weather", "workloads[0].id"}
        assert (await api.ask("GET", "/v1/nodes")).body == {"nodes": []}

    serve(work)


def test_without_after_the_desired_policies_come_at_once(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await api.put("rl", samples.policy())
        await api.put("gone", samples.policy("gone"))
        await api.ask("DELETE", "/v1/policies/gone")
        desired = (await api.ask("GET", f"{POLICIES}?wait=60")).body
        named = {policy["name"]: policy for policy in desired["policies"]}
        assert named["rl"]["text"] == samples.policy()
        assert (named["gone"]["removed"], named["gone"]["text"]) == (True, "")

    serve(work)


@pytest.mark.parametrize("change", ["put", "delete"])
def test_a_long_poll_wakes_at_once(change: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        await api.put("rl", samples.policy(port=1))
        version = (await api.ask("GET", POLICIES)).body["version"]
        polls = [
            asyncio.create_task(api.ask("GET", f"{POLICIES}?after={version}&wait=60"))
            for _ in range(20)
        ]
        await until(lambda: api.services.metrics.waiting._value.get() == 20)
        assert not any(poll.done() for poll in polls)
        started = time.monotonic()
        if change == "put":
            await api.put("rl", samples.policy(port=2))
        else:
            await api.ask("DELETE", "/v1/policies/rl")
        answers = await asyncio.gather(*polls)
        assert time.monotonic() - started < 2
        assert {answer.body["version"] for answer in answers} == {version + 1}
        assert {answer.body["policies"][0]["revision"] for answer in answers} == {2}

    serve(work)


def test_a_change_that_came_between_two_polls_is_not_missed(serve: Serve) -> None:
    async def work(api: Api) -> None:
        version = (await api.ask("GET", POLICIES)).body["version"]
        await api.put("rl", samples.policy())
        started = time.monotonic()
        answer = await api.ask("GET", f"{POLICIES}?after={version}&wait=60")
        assert time.monotonic() - started < 5
        assert answer.body["version"] == version + 1

    serve(work)


def test_a_long_poll_ends_with_the_same_version(serve: Serve) -> None:
    async def work(api: Api) -> None:
        version = (await api.ask("GET", POLICIES)).body["version"]
        started = time.monotonic()
        # An acknowledgement changes nothing that a node shall have.
        poll = asyncio.create_task(api.ask("GET", f"{POLICIES}?after={version}&wait=0.5"))
        acks = {"boot": samples.BOOT, "acknowledgements": []}
        await api.ask("POST", f"/v1/nodes/{samples.NODE}/acknowledgements", json=acks)
        answer = await poll
        assert 0.5 <= time.monotonic() - started < 5
        assert answer.body == {"version": version, "policies": []}

    serve(work)


def test_who_waits_is_sent_home_when_the_server_stops(serve: Serve) -> None:
    ended: list[float] = []

    async def work(api: Api) -> None:
        async def poll() -> int:
            answer = await api.ask("GET", f"{POLICIES}?after=0&wait=60")
            return answer.status

        waiting = asyncio.create_task(poll())
        await until(lambda: api.services.metrics.waiting._value.get() == 1)
        ended.append(time.monotonic())
        await api.stop()
        assert await waiting == 200

    serve(work)
    assert time.monotonic() - ended[0] < 3


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("wait=61", "wait"), ("wait=-1", "wait"), ("wait=soon", "wait"), ("wait=nan", "wait"),
        ("after=x", "after"), ("after=-1", "after"), ("after=99999999999999999999", "after"),
        ("since=1", "since"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_of_a_poll_is_named(query: str, field: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        answer = await api.ask("GET", f"{POLICIES}?{query}")
        assert answer.status == 400
        assert list(answer.faults) == [field]

    serve(work)


def test_an_acknowledgement_is_the_nodes_word(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await api.ask("POST", REPORT, json=samples.report())
        await api.put("rl", samples.policy())
        pending = (await api.ask("GET", "/v1/policies/rl")).body["nodes"]
        assert pending == {"acked": [], "pending": [samples.NODE], "failed": []}
        path = f"/v1/nodes/{samples.NODE}/acknowledgements"
        ack = {"policy": "rl", "revision": 1, "state": "acked"}
        await api.ask("POST", path, json={"boot": samples.BOOT, "acknowledgements": [ack]})
        acked = (await api.ask("GET", "/v1/policies/rl")).body["nodes"]
        assert acked == {"acked": [samples.NODE], "pending": [], "failed": []}
        wrong = {"policy": "rl", "revision": 1, "state": "perhaps"}
        answer = await api.ask("POST", path, json={"boot": "b", "acknowledgements": [wrong]})
        assert list(answer.faults) == ["acknowledgements[0].state"]

    serve(work)
