# SPDX-License-Identifier: Apache-2.0
"""A node's uplink and the control plane, as processes of their own that are killed at will."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.client import ApiClient, ApiError, ApiUnavailable
from controlplane.contract.event import event_id
from controlplane.contract.records import EventList
from enforcer.callbook import CallBook
from enforcer.names import boot_identity
from enforcer.spool import SpoolWriter
from tests.api import samples
from tests.api.site import Site

BOOT = boot_identity()[0]
WORKLOADS = (1613, 1700)
KILLS = 12


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


class Workload:
    """What the agent records while others are killed: numbered events, calls begun and ended."""

    def __init__(self, folder: Path) -> None:
        self._spool = SpoolWriter(folder / "state/spool", 1 << 30)
        self._book = CallBook(folder / "run/calls.db")
        self._open: list[int] = []
        self.written = 0
        self.calls = 0

    def write(self, count: int) -> None:
        first = self.written + 1
        self._spool.append(
            [
                samples.event(number, boot=BOOT, workload_id=workload)
                for number in range(first, first + count)
                for workload in WORKLOADS
            ]
        )
        self.written += count
        self.calls += 1
        call = self._book.open_call(
            call_id=f"call_{self.calls}", episode="ep-1", step=self.calls, tool="shell",
            arguments={"command": "ls"}, workload=WORKLOADS[0], binding="target:1",
            announced_by=1,
        )  # fmt: skip
        self._open.append(call.number)
        if len(self._open) > 3:
            self._book.close_call(self._open.pop(0), "ended")

    def end_calls(self) -> None:
        while self._open:
            self._book.close_call(self._open.pop(), "ended")

    def close(self) -> None:
        self._spool.close()
        self._book.close()


async def stored(client: ApiClient, workload: int) -> list[int]:
    """Sequence numbers of a workload's events, in the order of arrival."""
    found: list[int] = []
    page = EventList(events=[], next=0)
    while (page := await client.events(after=page.next, limit=1000)).events:
        found += [
            each.event["sequence"] for each in page.events if each.event["workload_id"] == workload
        ]
    return found


async def eventually(condition: Any, seconds: float = 180) -> Any:
    """What `condition` gives once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if result := await condition():
                return result
        except (ApiError, ApiUnavailable):
            pass
        await asyncio.sleep(0.1)
    raise AssertionError("did not come about")


def test_kills_of_both_sides_lose_nothing_and_double_nothing(
    site: Site, request: pytest.FixtureRequest
) -> None:
    chance = random.Random(3)
    site.start("controlplane", "enforcer.uplink")
    workload = Workload(site.folder)
    request.addfinalizer(workload.close)

    async def work() -> None:
        for _ in range(KILLS):
            victim = chance.choice(["controlplane", "enforcer.uplink"])
            alive_until = time.monotonic() + chance.uniform(0.3, 2.5)
            while time.monotonic() < alive_until:
                workload.write(chance.randint(1, 60))
                await asyncio.sleep(0.05)
            site.kill(victim)
            workload.write(chance.randint(1, 60))
            site.start(victim)
        workload.end_calls()
        expected = list(range(1, workload.written + 1))
        async with ApiClient(site.address) as client:

            async def arrived() -> bool:
                newest = samples.event(workload.written, boot=BOOT, workload_id=WORKLOADS[-1])
                return bool(await client.event(event_id(newest)))

            await eventually(arrived)
            for number in WORKLOADS:
                # In order, too: what is sent again is what was not acknowledged.
                assert await stored(client, number) == expected

            async def told() -> bool:
                calls = (await client.tool_calls(limit=1000)).calls
                assert len({call.number for call in calls}) == len(calls) <= workload.calls
                return len([call for call in calls if call.ended]) == workload.calls

            await eventually(told)
            [incident] = (await client.incidents()).incidents[:1]
            assert incident.denied == workload.written

    asyncio.run(work())


def test_a_policy_reaches_the_node_and_its_word_comes_back(site: Site) -> None:
    site.start("controlplane", "enforcer.uplink")

    async def work() -> None:
        async with ApiClient(site.address) as client:

            async def live() -> bool:
                return [node.live for node in (await client.nodes()).nodes] == [True]

            await eventually(live)
            accepted = await client.put_policy("rl", samples.policy("rl"), wait=20)
            assert (accepted.revision, accepted.nodes.acked) == (1, [samples.NODE])
            assert site.in_force() == {"rl": 1}
            site.kill("enforcer.uplink")
            accepted = await client.put_policy("rl", samples.policy("rl", port=80), wait=1)
            assert accepted.nodes.pending == [samples.NODE]
            site.start("enforcer.uplink")

            async def acknowledged() -> bool:
                return (await client.policy("rl")).nodes.acked == [samples.NODE]

            await eventually(acknowledged)
            assert site.in_force() == {"rl": 2}
            refused = await client.put_policy("refused", samples.policy("refused"), wait=20)
            [failure] = refused.nodes.failed
            assert (failure.node, failure.message) == (samples.NODE, "policy refused: no room")
            removed = await client.delete_policy("rl", wait=20)
            assert removed.nodes.acked == [samples.NODE]
            assert site.in_force() == {}

    asyncio.run(work())
