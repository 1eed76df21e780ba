# SPDX-License-Identifier: Apache-2.0
"""Who waits for a change hears of it at once, of every one, and never for longer than asked."""

from __future__ import annotations

import asyncio
import time

from controlplane.changes import Changes


class Counter:
    """A value that changes, and how often it was looked at."""

    def __init__(self) -> None:
        self.value = 0
        self.looks = 0

    async def look(self) -> int:
        self.looks += 1
        return self.value


def test_a_value_that_satisfies_is_not_waited_for() -> None:
    async def work() -> None:
        assert await Changes().until(Counter().look, lambda value: value == 0, 60) == 0

    asyncio.run(work())


def test_a_change_ends_the_wait_and_others_do_not() -> None:
    async def work() -> None:
        changes, counter = Changes(), Counter()
        waiting = asyncio.create_task(changes.until(counter.look, lambda value: value == 3, 60))
        for value in (1, 2, 3):
            await asyncio.sleep(0.01)
            assert not waiting.done()
            counter.value = value
            await changes.tell()
        assert await asyncio.wait_for(waiting, 5) == 3
        assert counter.looks == 4

    asyncio.run(work())


def test_a_change_during_the_look_is_not_missed() -> None:
    async def work() -> None:
        changes = Changes()
        seen: list[int] = []

        async def look() -> int:
            # A slow query: the change is told before it comes back, and it does not show it.
            seen.append(len(seen))
            if len(seen) == 1:
                await changes.tell()
            return seen[-1]

        assert await asyncio.wait_for(changes.until(look, lambda value: value == 1, 60), 5) == 1

    asyncio.run(work())


def test_nobody_looks_while_nothing_changes() -> None:
    async def work() -> None:
        counter = Counter()
        started = time.monotonic()
        assert await Changes().until(counter.look, lambda value: value == 1, 0.2) == 0
        assert 0.2 <= time.monotonic() - started < 5
        assert counter.looks == 2

    asyncio.run(work())


def test_closing_sends_everybody_home_now_and_later() -> None:
    async def work() -> None:
        changes, counter = Changes(), Counter()
        waiting = [
            asyncio.create_task(changes.until(counter.look, lambda value: value == 1, 60))
            for _ in range(3)
        ]
        await asyncio.sleep(0.01)
        await changes.close()
        assert await asyncio.wait_for(asyncio.gather(*waiting), 5) == [0, 0, 0]
        assert await asyncio.wait_for(changes.until(counter.look, bool, 60), 5) == 0

    asyncio.run(work())
