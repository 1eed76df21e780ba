# SPDX-License-Identifier: Apache-2.0
"""Root exempts a workload over the socket; each begin and end is an event of the node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.contract.wire import RequestError
from enforcer import abi, paths
from enforcer.spool import read_events
from tests.unit.controlplane.contract.documents import whole
from tests.unit.enforcer.served_agent import ME, ServedAgent

TEXT = yaml.safe_dump(whole())
JOB = "/rl.slice/job-1"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedAgent]:
    made = ServedAgent(tmp_path, monkeypatch)
    yield made
    made.close()


async def covered(node: ServedAgent) -> int:
    """A job below /rl.slice, which is a workload too; the job's id."""
    job = node.pins.make_cgroup(JOB)
    node.pins.make_cgroup(f"{JOB}/inner")
    await node.admin("policy.apply", source="p", text=TEXT)
    return job


async def exempted(node: ServedAgent, **fields: Any) -> dict[str, Any]:
    given = {"workload": JOB, "seconds": 60, "reason": "why", **fields}
    return await node.admin("exempt", **given)


def told() -> list[dict[str, Any]]:
    return [event for event in read_events(paths.SPOOL) if event["kind"].startswith("exempt")]


def test_a_workload_is_exempted_listed_and_let_go(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        job = await covered(node)
        reply = await exempted(node)
        assert (reply["exemption"]["workload"], reply["warnings"]) == (JOB, [])
        assert 59 < reply["exemption"]["remaining"] <= 60
        assert node.maps.exemptions.get(job) is not None
        [row] = (await node.admin("exempt.list"))["exemptions"]
        assert (row["workload"], row["reason"], row["uid"]) == (JOB, "why", 0)
        rows = {row["path"]: row for row in (await node.admin("status"))["workloads"]}
        assert (rows[JOB]["exempt_reason"], rows["/rl.slice"]["exempt_until"]) == ("why", None)
        await node.admin("exempt.end", workload=JOB)
        assert node.maps.exemptions.get(job) is None
        assert (await node.admin("exempt.list"))["exemptions"] == []
        with pytest.raises(RequestError, match=f"workload {JOB}: is not exempt"):
            await node.admin("exempt.end", workload=JOB)

        begun, ended = told()
        assert (begun["kind"], begun["decision"], begun["sequence"]) == ("exempt", "audited", None)
        assert (begun["workload"], begun["workload_id"], begun["policy"]) == (
            JOB, job, "rl-sandbox",
        )  # fmt: skip
        assert begun["object"] == {
            "until": begun["object"]["until"], "reason": "why", "uid": 0,
        }  # fmt: skip
        assert (begun["subject"]["pid"], begun["subject"]["uid"]) == (ME, 0)
        assert begun["subject"]["comm"] != ""
        assert (ended["kind"], ended["decision"]) == ("exempt_end", "allowed")
        assert ended["object"]["cause"] == "ended"

    node.serve(work)


def test_an_end_by_itself_is_noticed_and_told(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        await covered(node)
        await exempted(node, seconds=1)
        for _ in range(100):
            if len(told()) > 1:
                break
            await asyncio.sleep(0.05)
        assert [event["object"].get("cause") for event in told()] == [None, "expired"]
        assert told()[1]["subject"]["pid"] == ME

    node.serve(work)


def test_it_outlives_the_agent_and_what_ended_meanwhile_is_told(node: ServedAgent) -> None:
    jobs: list[int] = []

    async def first(node: ServedAgent) -> None:
        jobs.append(await covered(node))
        await exempted(node)

    async def second(node: ServedAgent) -> None:
        [row] = (await node.admin("exempt.list"))["exemptions"]
        assert (row["workload"], row["reason"]) == (JOB, "why")
        assert len(told()) == 1

    async def third(node: ServedAgent) -> None:
        assert (await node.admin("exempt.list"))["exemptions"] == []
        assert told()[-1]["object"]["cause"] == "lost"

    node.serve(first)
    node.serve(second)
    node.maps.exemptions.delete(jobs[0])
    node.serve(third)


def test_nothing_is_exempt_that_no_event_tells_of(
    node: ServedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(node: ServedAgent) -> None:
        job = await covered(node)
        seen: list[str] = []

        def full(exemption: object) -> None:
            seen.extend(event["kind"] for event in told())
            raise OSError(28, "No space left on device", "map exemptions: update")

        monkeypatch.setattr(node.agent.exemptions, "begin", full)
        with pytest.raises(RequestError, match="map exemptions: update"):
            await exempted(node)
        assert seen == ["exempt"]
        assert [event["kind"] for event in told()] == ["exempt", "exempt_end"]
        assert node.maps.exemptions.get(job) is None
        assert (await node.admin("exempt.list"))["exemptions"] == []

    node.serve(work)


def test_workloads_below_are_no_part_of_it_and_named(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        job = await covered(node)
        reply = await exempted(node, workload="/rl.slice/")
        assert reply["warnings"] == [f"not exempt are the workloads below it: {JOB}"]
        assert node.maps.exemptions.get(job) is None

    node.serve(work)


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"workload": None}, "invalid", "exempt: workload: None is not a cgroup path"),
        ({"workload": "rl.slice"}, "invalid", "'rl.slice' is not a cgroup path"),
        ({"workload": "/rl.slice/job"}, "unknown_workload", f"alike are /rl.slice, {JOB}"),
        ({"workload": f"{JOB}/inner"}, "unknown_workload", f"is a part of workload {JOB}"),
        ({"workload": "/"}, "unknown_workload", f"below it are /rl.slice, {JOB}"),
        ({"workload": f"/x/..{JOB}"}, "unknown_workload", "alike are"),
        ({"workload": "/q"}, "unknown_workload", "lictor workloads lists them"),
        ({"seconds": None}, "invalid", "exempt: seconds: None is not 1 to 86400"),
        ({"seconds": 0}, "invalid", "seconds: 0 is not"),
        ({"seconds": 86401}, "invalid", "seconds: 86401 is not"),
        ({"seconds": float("nan")}, "invalid", "seconds: nan is not"),
        ({"seconds": True}, "invalid", "seconds: True is not"),
        ({"seconds": "60"}, "invalid", "seconds: '60' is not"),
        ({"reason": None}, "invalid", "exempt: reason: is missing"),
        ({"reason": "  "}, "invalid", "exempt: reason: is missing"),
        ({"reason": "x" * 501}, "invalid", "reason: 501 characters are more than 500"),
        ({"reason": "a\nb"}, "invalid", "holds control characters"),
        ({"reason": "a\x1b[2Jb"}, "invalid", "holds control characters"),
        ({"reason": "a\u202eb"}, "invalid", "holds control characters"),
    ],
)
def test_a_faulty_request_is_refused_and_exempts_nothing(
    fields: dict[str, Any], code: str, text: str, node: ServedAgent
) -> None:
    async def work(node: ServedAgent) -> None:
        await covered(node)
        with pytest.raises(RequestError) as caught:
            await exempted(node, **fields)
        assert caught.value.code == code
        assert text in str(caught.value)
        assert list(node.maps.exemptions.keys()) == []
        assert told() == []

    node.serve(work)


def test_many_near_workloads_are_counted_and_not_all_named(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        for number in range(8):
            cgroup = node.pins.make_cgroup(f"/free/job-{number}")
            node.maps.scopes.put(cgroup, abi.Scope(workload=cgroup, policy=2))
        with pytest.raises(RequestError, match=r"/free/job-0, .*/free/job-4 and 3 more"):
            await exempted(node, workload="/free")

    node.serve(work)
