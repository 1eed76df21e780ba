# SPDX-License-Identifier: Apache-2.0
"""The way to the control plane, there or not: how long to wait, and what to say about it.

Shared by all that use it, so that an outage is told once and its end wakes everyone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from loguru import logger

LONGEST_PAUSE = 30.0


def pause_before(attempt: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds after failure 1, 2, ...: 1 to 2, then twice as long each time, up to 30.

    By chance, so that nodes do not all come back in the same moment.
    """
    return min(LONGEST_PAUSE, 2.0 ** min(attempt, 16)) * (1 + chance()) / 2


class Link:
    """What the last answers said."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._said: set[str] = set()
        self._restored = asyncio.Event()

    def works(self) -> None:
        """An answer came: those who pause go on."""
        if self._said:
            logger.info("{}: the control plane answers again", self._address)
            self._said.clear()
        self._restored.set()

    async def pause(self, error: Exception, attempt: int) -> None:
        """After a failure: tell of it, if it is not known, and wait, until it works elsewhere."""
        text = str(error)
        if text not in self._said:
            logger.warning("{}; what is to be sent waits on disk", text)
            self._said.add(text)
        self._restored.clear()
        try:
            async with asyncio.timeout(pause_before(attempt)):
                await self._restored.wait()
        except TimeoutError:
            return
