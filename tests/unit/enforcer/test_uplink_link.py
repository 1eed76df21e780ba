# SPDX-License-Identifier: Apache-2.0
"""An outage is told once, waited for longer each time, and over for all at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from loguru import logger

from enforcer import uplink_link
from enforcer.uplink_link import Link, pause_before


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []
    number = logger.add(found.append, format="{level} {message}")
    yield found
    logger.remove(number)


@pytest.mark.parametrize(
    ("attempt", "shortest", "longest"),
    [(1, 1, 2), (2, 2, 4), (3, 4, 8), (4, 8, 16), (5, 15, 30), (6, 15, 30), (10**9, 15, 30)],
)
def test_pauses_grow_up_to_half_a_minute(attempt: int, shortest: float, longest: float) -> None:
    assert pause_before(attempt, lambda: 0.0) == shortest
    assert pause_before(attempt, lambda: 1.0) == longest


def test_an_outage_and_its_end_are_told_once(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_link, "pause_before", lambda _: 0.001)

    async def work() -> None:
        link = Link("unix:/x")
        link.works()
        for _ in range(3):
            await link.pause(OSError("unix:/x: refused"), 1)
        await link.pause(OSError("token expired"), 1)
        link.works()
        link.works()

    asyncio.run(work())
    assert [line.strip() for line in lines] == [
        "WARNING unix:/x: refused; what is to be sent waits on disk",
        "WARNING token expired; what is to be sent waits on disk",
        "INFO unix:/x: the control plane answers again",
    ]


def test_one_that_gets_through_wakes_the_others() -> None:
    async def work() -> float:
        link = Link("x")
        started = time.monotonic()
        pauses = [asyncio.create_task(link.pause(OSError("away"), 5)) for _ in range(3)]
        await asyncio.sleep(0.05)
        link.works()
        await asyncio.gather(*pauses)
        return time.monotonic() - started

    assert asyncio.run(work()) < 5
