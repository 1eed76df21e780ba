# SPDX-License-Identifier: Apache-2.0
"""Events and tool calls: taken in once, refused whole, found page by page."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from tests.api import samples
from tests.api.conftest import Serve
from tests.api.served import Api


async def positions(api: Api, query: str = "") -> list[int]:
    found = (await api.ask("GET", f"/v1/events?limit=1000{query}")).body["events"]
    return [event["event"]["sequence"] for event in found]


def test_a_batch_is_taken_once_however_often_it_is_sent(serve: Serve) -> None:
    async def work(api: Api) -> None:
        sent = samples.batch(*map(samples.event, (1, 2, 3)), calls=(samples.call(),))
        assert (await api.ship(sent)).body == {"accepted": 3, "duplicates": 0}
        assert (await api.ship(sent)).body == {"accepted": 0, "duplicates": 3}
        more = samples.batch(*map(samples.event, (3, 4)))
        assert (await api.ship(more)).body == {"accepted": 1, "duplicates": 1}
        assert await positions(api) == [1, 2, 3, 4]

    serve(work)


def test_an_event_comes_back_as_it_was_sent(serve: Serve) -> None:
    async def work(api: Api) -> None:
        odd = {"path": "/tmp/\\xff\n\0\U0001f600", "path_base64": "L3RtcC8=", "inode": 2**62}
        event = samples.event(1, kind="exec", object=odd, later_field={"deep": [1, 2.5, None]})
        await api.ship(samples.batch(event))
        [stored] = (await api.ask("GET", "/v1/events")).body["events"]
        assert stored["event"] == event
        assert stored["id"] == "b656d6bf-1613-1"
        assert (await api.ask("GET", f"/v1/events/{stored['id']}")).body == stored
        assert (await api.ask("GET", "/v1/events/b656d6bf-1613-2")).status == 404

    serve(work)


def test_an_event_without_a_sequence_is_taken_once_too(serve: Serve) -> None:
    async def work(api: Api) -> None:
        sent = samples.batch(samples.event(None), samples.event(None, time=5.0))
        assert (await api.ship(sent)).body == {"accepted": 2, "duplicates": 0}
        assert (await api.ship(sent)).body == {"accepted": 0, "duplicates": 2}
        [first, _] = (await api.ask("GET", "/v1/events")).body["events"]
        assert "-x" in first["id"]
        assert (await api.ask("GET", f"/v1/events/{first['id']}")).body == first

    serve(work)


def without(name: str) -> dict[str, Any]:
    event = samples.event(2)
    del event[name]
    return event


@pytest.mark.parametrize(
    ("event", "field"),
    [
        *((without(name), f"events[1].{name}") for name in (
            "version", "time", "node", "boot", "workload", "workload_id", "sequence", "kind",
            "subject", "object", "decision", "policy", "revision", "rule", "reason", "tag",
            "attribution",
        )),
        (samples.event(2, version=2), "events[1].version"),
        (samples.event(2, time="now"), "events[1].time"),
        (samples.event(2, time=float("nan")), "events[1].time"),
        (samples.event(2, workload_id=-1), "events[1].workload_id"),
        (samples.event(2, workload_id=2**63), "events[1].workload_id"),
        (samples.event(True), "events[1].sequence"),
        (samples.event(0), "events[1].sequence"),
        (samples.event(2, decision="maybe"), "events[1].decision"),
        (samples.event(2, subject={"pid": "x"}), "events[1].subject.pid"),
        (samples.event(2, object={"path": b"\xff"}), "events[1].object.path"),
        (samples.event(2, object={"n": float("inf")}), "events[1].object.n.float"),
        (samples.event(2, node="node-2"), "events[1].node"),
        (samples.event(2, tag={"call": {"number": "x"}}), "events[1].tag.call.number"),
        (samples.event(2, more=msgpack.Timestamp(1)), "events[1].more"),
        ("text", "events[1]"),
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_event_is_named_and_nothing_of_its_batch_is_stored(
    event: Any, field: str, serve: Serve
) -> None:
    async def work(api: Api) -> None:
        answer = await api.ship(samples.batch(samples.event(1), event, calls=(samples.call(),)))
        assert answer.status == 400
        assert list(answer.faults) == [field]
        assert await positions(api) == []
        assert (await api.ask("GET", "/v1/tool-calls")).body == {"calls": []}

    serve(work)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"number": "1"}, "calls[0].number"), ({"node": "node-2"}, "calls[0].node"),
        ({"arguments": {"a": b"\xff"}}, "calls[0].arguments"), ({"colour": 1}, "calls[0].colour"),
        ({"workload": 2**63}, "calls[0].workload"),
    ],
)  # fmt: skip
def test_a_bad_call_is_named(change: dict[str, Any], field: str, serve: Serve) -> None:
    async def work(api: Api) -> None:
        answer = await api.ship(samples.batch(samples.event(), calls=(samples.call(**change),)))
        assert answer.status == 400
        assert [name.startswith(field) for name in answer.faults] == [True]
        assert await positions(api) == []

    serve(work)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\xc1", b"not msgpack", msgpack.packb([1]), msgpack.packb({1: 2}),
        msgpack.packb({"version": 1}), samples.batch(version=2), samples.batch(boot=""),
        samples.batch(dropped=-1), samples.batch(extra=1), samples.batch() + b"\x00",
        b"\x91" * 5000 + b"\x90", b"\xdf\xff\xff\xff\xff",
    ],
    ids=range(13),
)  # fmt: skip
def test_bytes_that_are_no_batch_are_refused(raw: bytes, serve: Serve) -> None:
    async def work(api: Api) -> None:
        answer = await api.ship(raw)
        assert answer.status == 400, answer.body

    serve(work)


def test_depth_stops_neither_us_nor_the_events_behind(serve: Serve) -> None:
    async def work(api: Api) -> None:
        deep: Any = 1
        for _ in range(400):
            deep = {"a": deep}
        answer = await api.ship(samples.batch(samples.event(1, object=deep)))
        assert answer.status in (200, 400)
        assert (await api.ask("GET", "/v1/events")).status == 200
        assert (await api.ship(samples.batch(samples.event(2)))).status == 200

    serve(work)


def test_text_that_is_no_unicode_does_not_stop_a_batch(serve: Serve) -> None:
    async def work(api: Api) -> None:
        call = samples.call(arguments={"command": "\ud800 \0"})
        sent = samples.batch(samples.event(1), calls=(call,))
        assert (await api.ship(sent)).status == 200
        [found] = (await api.ask("GET", "/v1/tool-calls")).body["calls"]
        assert "\ud800" not in json.dumps(found, ensure_ascii=False)

    serve(work)


def test_pages_show_every_event_once(serve: Serve) -> None:
    async def work(api: Api) -> None:
        for start in (1, 41, 81):
            await api.ship(samples.batch(*map(samples.event, range(start, start + 40))))
        seen: list[int] = []
        after = 0
        while True:
            page = (await api.ask("GET", f"/v1/events?limit=50&after={after}")).body
            if not page["events"]:
                break
            seen += [event["event"]["sequence"] for event in page["events"]]
            after = page["next"]
        assert seen == list(range(1, 121))
        assert page["next"] == after
        await api.ship(samples.batch(samples.event(121)))
        [new] = (await api.ask("GET", f"/v1/events?after={after}")).body["events"]
        assert new["event"]["sequence"] == 121
        rare = (await api.ask("GET", f"/v1/events?kind=exec&after={after}")).body
        assert (rare["events"], rare["next"]) == ([], new["position"])

    serve(work)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("node=node-1", [1, 2, 3]), ("node=node-2", []), ("workload=/rl.slice/one", [1, 3]),
        ("episode=ep-1", [1]), ("call=call_1", [1]), ("policy=other", [3]), ("kind=exec", [2]),
        ("decision=allowed", [2]), ("decision=denied&kind=connect", [1, 3]), ("after=1", [2, 3]),
        ("limit=1", [1]), ("id=b656d6bf-1613-3", [3]), ("id=b656d6bf-7-2&kind=exec", [2]),
        ("id=b656d6bf-1613-3&kind=exec", []), ("id=b656d6bf-1613-9", []), ("id=twelve", []),
    ],
)  # fmt: skip
def test_a_filter_narrows_the_choice(query: str, found: list[int], serve: Serve) -> None:
    async def work(api: Api) -> None:
        tag = {"call": None}
        await api.ship(
            samples.batch(
                samples.event(1),
                samples.event(2, workload="/rl.slice/two", workload_id=7, kind="exec",
                              decision="allowed", object={"path": "/bin/sh"}, tag=tag),
                samples.event(3, policy="other", tag=tag),
            )
        )  # fmt: skip
        answer = await api.ask("GET", f"/v1/events?{query}")
        assert [each["event"]["sequence"] for each in answer.body["events"]] == found

    serve(work)


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("colour=green", ["colour"]), ("limit=0", ["limit"]), ("limit=1001", ["limit"]),
        ("limit=x&after=-1&x=1", ["after", "limit", "x"]), ("decision=maybe", ["decision"]),
        ("node=a&node=b", ["node"]), ("after=9223372036854775808", ["after"]),
    ],
)  # fmt: skip
def test_a_parameter_that_is_wrong_or_unknown_is_named(
    query: str, fields: list[str], serve: Serve
) -> None:
    async def work(api: Api) -> None:
        answer = await api.ask("GET", f"/v1/events?{query}")
        assert answer.status == 400
        assert sorted(answer.faults) == fields

    serve(work)


def test_a_calls_end_is_learnt_later(serve: Serve) -> None:
    async def work(api: Api) -> None:
        await api.ship(samples.batch(calls=(samples.call(),)))
        ended = samples.call(ended=1795433220.0, ending="end")
        await api.ship(samples.batch(calls=(ended,)))
        await api.ship(samples.batch(calls=(samples.call(),)))
        assert (await api.ask("GET", "/v1/tool-calls?episode=ep-1")).body == {"calls": [ended]}
        assert (await api.ask("GET", "/v1/tool-calls?id=call_1")).body == {"calls": [ended]}
        assert (await api.ask("GET", "/v1/tool-calls?id=call_2")).body == {"calls": []}

    serve(work)
