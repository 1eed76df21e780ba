# SPDX-License-Identifier: Apache-2.0
"""Wakes those who wait for something in the database to change, so that nobody looks in vain."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")


class Changes:
    """Told after each commit that somebody may wait for.

    The count makes a change between a look and the wait after it visible: the wait ends at once.
    """

    def __init__(self) -> None:
        self._condition = asyncio.Condition()
        self._count = 0
        self._closed = False

    async def tell(self) -> None:
        """Something has changed, durably."""
        async with self._condition:
            self._count += 1
            self._condition.notify_all()

    async def close(self) -> None:
        """Send all who wait home, now and later: the server stops."""
        async with self._condition:
            self._closed = True
            self._condition.notify_all()

    async def until(
        self,
        look: Callable[[], Awaitable[Value]],
        satisfied: Callable[[Value], bool],
        seconds: float,
    ) -> Value:
        """What `look` gives as soon as it satisfies, or once `seconds` are over or we close."""
        deadline = time.monotonic() + seconds
        while True:
            before = self._count
            value = await look()
            remaining = deadline - time.monotonic()
            if satisfied(value) or self._closed or remaining <= 0:
                return value
            await self._change_since(before, remaining)

    async def _change_since(self, count: int, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._condition:
                await self._condition.wait_for(lambda: self._count != count or self._closed)
