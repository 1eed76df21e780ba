# SPDX-License-Identifier: Apache-2.0
"""Policies over REST: revisions, refusals that change nothing, and the word of the nodes."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
import yaml

from controlplane.contract.policy import parse_policy
from tests.api import samples
from tests.api.conftest import Serve
from tests.api.served import Api, until

WRONG = """\
apiVersion: lictor/v1
kind: Policy
metadata: {name: rl}
spec:
  mode: enforce
  select: [{cgroup: rl.slice}]
  egress: {allow: [{to: 10.0.0.0/33}, {to: 10.1.2.3/8}]}
  colour: green
"""


async def report(api: Api, node: str = samples.NODE) -> None:
    answer = await api.ask("POST", f"/v1/nodes/{node}/report", json=samples.report())
    assert answer.status == 204


async def acknowledge(
    api: Api, revision: int, state: str = "acked", node: str = samples.NODE, message: str = ""
) -> None:
    ack = {"policy": "rl", "revision": revision, "state": state, "message": message}
    answer = await api.ask(
        "POST",
        f"/v1/nodes/{node}/acknowledgements",
        json={"boot": samples.BOOT, "acknowledgements": [ack]},
    )
    assert answer.status == 204, answer.body


def test_each_change_is_a_revision_and_none_is_lost(serve: Serve) -> None:
    async def work(api: Api) -> None:
        first = await api.put("rl", samples.policy(port=443))
        second = await api.put("rl", samples.policy(port=80))
        again = await api.put("rl", samples.policy(port=80))
        assert [a.body["revision"] for a in (first, second, again)] == [1, 2, 2]
        removed = await api.ask("DELETE", "/v1/policies/rl")
        assert removed.body["revision"] == 3
        back = await api.put("rl", samples.policy(port=443))
        assert back.body["revision"] == 4
        history = (await api.ask("GET", "/v1/policies/rl/revisions")).body["revisions"]
        assert [(r["revision"], r["removed"]) for r in history] == [
            (4, False), (3, True), (2, False), (1, False),
        ]  # fmt: skip
        old = (await api.ask("GET", "/v1/policies/rl/revisions/2")).body
        assert old["text"] == samples.policy(port=80)
        assert old["author"].startswith("the operator (token ")

    serve(work)


def test_the_list_has_what_is_in_force_and_removals_if_asked(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await api.put("rl", samples.policy())
        await api.put("gone", samples.policy("gone"))
        await api.ask("DELETE", "/v1/policies/gone")
        listed = (await api.ask("GET", "/v1/policies")).body["policies"]
        assert [status["policy"]["name"] for status in listed] == ["rl"]
        whole = (await api.ask("GET", "/v1/policies?removed=true")).body["policies"]
        assert [status["policy"]["name"] for status in whole] == ["gone", "rl"]
        shown = await api.ask("GET", "/v1/policies/gone")
        assert (shown.status, shown.body["policy"]["removed"]) == (200, True)

    serve(work)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/policies/nobody",
        "/v1/policies/nobody/revisions",
        "/v1/policies/rl/revisions/2",
        "/v1/policies/rl/revisions/999999999999999999",
    ],
)
def test_what_does_not_exist_is_named(path: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        await api.put("rl", samples.policy())
        answer = await api.ask("GET", path)
        assert answer.status == 404
        assert "is not known" in answer.body["detail"]

    serve(work)


def test_every_fault_is_told_and_the_old_revision_stays(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await api.put("rl", samples.policy())
        before = (await api.ask("GET", f"/v1/nodes/{samples.NODE}/policies")).body
        answer = await api.put("rl", WRONG)
        assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
        assert set(answer.faults) == {
            "spec.select[0].cgroup",
            "spec.egress.allow[0].to",
            "spec.egress.allow[1].to",
            "spec.colour",
            "spec.ingress",
            "spec.exec",
            "spec.devices",
        }
        lines = {fault["field"]: fault["line"] for fault in answer.body["faults"]}
        assert lines["spec.egress.allow[1].to"] == 7
        assert "host bits" in answer.faults["spec.egress.allow[1].to"]
        head = (await api.ask("GET", "/v1/policies/rl")).body["policy"]
        assert (head["revision"], head["text"]) == (1, samples.policy())
        after = (await api.ask("GET", f"/v1/nodes/{samples.NODE}/policies")).body
        assert after == before

    serve(work)


@pytest.mark.parametrize(
    ("body", "kind", "cause"),
    [
        (b"", "application/yaml", "is empty"),
        (b"a: [", "application/yaml", "is not YAML"),
        (b"\xff\xfe", "application/yaml", "is not UTF-8"),
        (b"- 1\n", "application/yaml", "a policy is a mapping, got a list"),
        (b"a: &x 1\n", "application/yaml", "anchor"),
        (b"{", "application/json", "is not JSON"),
        (b"\xff", "application/json", "is not UTF-8"),
        (b"[1]", "application/json", "a policy is a mapping, got a list"),
        (b'{"a": NaN}', "application/json", "NaN is not a number"),
        (b'{"spec": 1, "spec": 2}', "application/json", "field 'spec' is written twice"),
        (b"[" * 100_000, "application/json", "nested"),
        (b'{"a": ' + b"[" * 20 + b"]" * 20 + b"}", "application/json", "nested deeper than 16"),
        (b'{"kind": "\\ud800"}', "application/json", "broken Unicode"),
        (b'{"kind": "\\u0000"}', "application/json", "control characters"),
    ],
)
def test_a_body_that_is_no_policy_is_refused(
    body: bytes, kind: str, cause: str, serve: Serve
) -> None:
    async def work(api: Api) -> None:
        headers = {"Content-Type": kind}
        answer = await api.ask("PUT", "/v1/policies/rl", data=body, headers=headers)
        assert answer.status == 400, answer.body
        assert cause in json.dumps(answer.body["faults"])
        assert (await api.ask("GET", "/v1/policies?removed=true")).body == {"policies": []}

    serve(work)


def test_the_name_is_the_paths(serve: Serve) -> None:
    async def work(api: Api) -> None:
        answer = await api.put("other", samples.policy("rl"))
        assert answer.status == 400
        assert answer.faults == {"metadata.name": "'rl' is not 'other', the path's"}

    serve(work)


def test_json_is_taken_and_nodes_read_the_same_from_it(serve: Serve) -> None:
    async def work(api: Api) -> None:
        document = yaml.safe_load(samples.policy())
        document["metadata"]["description"] = "\U0001f600 no\u2028 195:0"
        for text in (json.dumps(document), json.dumps(document, indent="\t", ensure_ascii=False)):
            headers = {"Content-Type": "application/json; charset=utf-8"}
            answer = await api.ask("PUT", "/v1/policies/rl", data=text.encode(), headers=headers)
            assert answer.status == 202, answer.body
            stored = (await api.ask("GET", "/v1/policies/rl")).body["policy"]["text"]
            policy = parse_policy(stored, "stored")
            assert policy.metadata.description == "\U0001f600 no\u2028 195:0"
            assert policy == parse_policy(
                yaml.safe_dump(document, allow_unicode=True), "as it was meant"
            )

    serve(work)


def test_a_body_without_a_type_is_read_as_yaml(serve: Serve) -> None:
    async def work(api: Api) -> None:
        answer = await api.ask(
            "PUT", "/v1/policies/rl", data=samples.policy().encode(),
            skip_auto_headers=["Content-Type"],
        )  # fmt: skip
        assert answer.status == 202, answer.body
        wrong = await api.ask("PUT", "/v1/policies/rl", data={"policy": "x"})
        assert wrong.status == 415
        assert "x-www-form-urlencoded" in wrong.body["detail"]

    serve(work)


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        ('"2"', 202), ('"1", "2"', 202), ("*", 202), ('"1"', 412), ('"3"', 412), ('W/"2"', 400),
        ("2", 400), ('"two"', 400), ('"9999999999999999999"', 400),
    ],
)  # fmt: skip
def test_if_match_lets_only_the_expected_revision_be_replaced(
    if_match: str, status: int, serve: Serve
) -> None:
    async def work(api: Api) -> None:
        await api.put("rl", samples.policy(port=1))
        assert (await api.put("rl", samples.policy(port=2))).headers["ETag"] == '"2"'
        answer = await api.put("rl", samples.policy(port=3), headers={"If-Match": if_match})
        assert answer.status == status, answer.body
        head = (await api.ask("GET", "/v1/policies/rl")).body["policy"]
        assert head["revision"] == (3 if status == 202 else 2)
        if status == 412:
            assert answer.headers["ETag"] == '"2"'
            assert "policy rl: is at revision 2" in answer.body["detail"]

    serve(work)


def test_if_match_wants_a_policy_that_is_there(serve: Serve) -> None:
    async def work(api: Api) -> None:
        for if_match in ("*", '"1"'):
            answer = await api.put("rl", samples.policy(), headers={"If-Match": if_match})
            assert answer.status == 412
        await api.put("rl", samples.policy())
        stale = await api.ask("DELETE", "/v1/policies/rl", headers={"If-Match": '"7"'})
        assert stale.status == 412
        await api.ask("DELETE", "/v1/policies/rl", headers={"If-Match": '"1"'})
        gone = await api.put("rl", samples.policy(), headers={"If-Match": '"2"'})
        assert gone.status == 412

    serve(work)


def test_of_two_writers_with_the_same_if_match_one_wins(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await api.put("rl", samples.policy(port=1))
        answers = await asyncio.gather(
            *(
                api.put("rl", samples.policy(port=port), headers={"If-Match": '"1"'})
                for port in range(2, 12)
            )
        )
        assert sorted(answer.status for answer in answers) == [202] + [412] * 9

    serve(work)


def test_put_answers_200_as_soon_as_every_live_node_has_acknowledged(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await report(api)
        waiting = asyncio.create_task(
            api.put("rl", samples.policy(), headers={"Prefer": "respond-async, wait=30"})
        )
        await until(lambda: api.services.metrics.waiting._value.get() == 1)
        started = time.monotonic()
        await acknowledge(api, 1)
        answer = await waiting
        assert time.monotonic() - started < 1
        assert answer.status == 200
        assert answer.body["nodes"] == {"acked": [samples.NODE], "pending": [], "failed": []}
        assert answer.headers["Preference-Applied"] == "wait=30"

    serve(work)


def test_put_answers_202_when_a_node_stays_silent(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await report(api)
        await report(api, "node-2")
        started = time.monotonic()
        waiting = asyncio.create_task(api.put("rl", samples.policy(), headers={"Prefer": "wait=1"}))
        await until(lambda: api.services.metrics.waiting._value.get() == 1)
        await acknowledge(api, 1)
        answer = await waiting
        assert 1 <= time.monotonic() - started < 5
        assert answer.status == 202
        assert answer.body["nodes"]["acked"] == [samples.NODE]
        assert answer.body["nodes"]["pending"] == ["node-2"]

    serve(work)


def test_a_nodes_refusal_ends_the_wait_and_is_told(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await report(api)
        waiting = asyncio.create_task(
            api.put("rl", samples.policy(), headers={"Prefer": "wait=30"})
        )
        await until(lambda: api.services.metrics.waiting._value.get() == 1)
        await acknowledge(api, 1, "failed", message="policy rl: cgroup is taken by policy other")
        answer = await waiting
        assert answer.status == 202
        assert answer.body["nodes"]["failed"] == [
            {"node": samples.NODE, "message": "policy rl: cgroup is taken by policy other"}
        ]

    serve(work)


def test_delete_waits_like_put(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await report(api)
        await api.put("rl", samples.policy())
        waiting = asyncio.create_task(
            api.ask("DELETE", "/v1/policies/rl", headers={"Prefer": "wait=30"})
        )
        await until(lambda: api.services.metrics.waiting._value.get() == 1)
        await acknowledge(api, 2)
        answer = await waiting
        assert (answer.status, answer.body["revision"]) == (200, 2)
        again = await api.ask("DELETE", "/v1/policies/rl")
        assert (again.status, again.body["revision"]) == (200, 2)
        assert (await api.ask("DELETE", "/v1/policies/nobody")).status == 404

    serve(work)


def test_a_node_that_is_not_live_is_not_waited_for(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await report(api, "node-2")
        api.clock.now += 31
        await report(api)
        await api.put("rl", samples.policy())
        await acknowledge(api, 1)
        answer = await api.put("rl", samples.policy(), headers={"Prefer": "wait=30"})
        assert answer.status == 200
        assert answer.body["nodes"]["acked"] == [samples.NODE]

    serve(work)


def test_without_any_live_node_nothing_is_in_force(serve: Serve) -> None:
    async def work(api: Api) -> None:
        started = time.monotonic()
        answer = await api.put("rl", samples.policy(), headers={"Prefer": "wait=30"})
        assert time.monotonic() - started < 5
        assert answer.status == 202
        assert answer.body["nodes"] == {"acked": [], "pending": [], "failed": []}

    serve(work)


@pytest.mark.parametrize("prefer", ["wait=x", "wait=-1", "return=minimal", "wait"])
def test_a_preference_that_is_not_known_is_passed_over(prefer: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        await report(api)
        answer = await api.put("rl", samples.policy(), headers={"Prefer": prefer})
        assert answer.status == 202
        assert "Preference-Applied" not in answer.headers

    serve(work)


def test_a_wait_is_at_most_a_minute(serve: Serve) -> None:
    async def work(api: Api) -> None:
        answer = await api.put("rl", samples.policy(), headers={"Prefer": "wait=86400"})
        assert answer.headers["Preference-Applied"] == "wait=60"

    serve(work)
