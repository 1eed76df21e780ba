# SPDX-License-Identifier: Apache-2.0
"""The agent's canary: again and again, and loudly as long as the node does not enforce."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from loguru import logger

from controlplane.contract import supervision
from enforcer import canary_state
from enforcer.canary_state import CanaryReport


class CanaryWatch:
    """One canary a period. condition: how the node is, see condition.py."""

    def __init__(
        self,
        period: float,
        canary: Callable[[], Awaitable[CanaryReport]],
        condition: Callable[[], dict[str, Any]],
    ) -> None:
        self._period = period
        self._canary = canary
        self._condition = condition
        self._enforcing: bool | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            started = time.monotonic()
            self.learn(await self._canary())
            await asyncio.sleep(max(0.0, started + self._period - time.monotonic()))

    def learn(self, report: CanaryReport) -> None:
        """Keep what a canary has shown, and say how the node is now."""
        try:
            canary_state.keep(report, self._period)
        except OSError as error:
            # What is kept grows old, and with that the node is not claimed to enforce.
            logger.error("{}", error)
        condition = self._condition()
        enforcing, problem = condition["enforcing"], condition["problem"]
        if not enforcing:
            logger.error("NOT ENFORCING: {}", problem)
            supervision.tell(f"NOT ENFORCING: {problem}")
        else:
            if not self._enforcing:
                logger.info("enforcing: all that the canary tried was denied")
            if report.problem:
                logger.warning("{}; once more, and this node is not enforcing", report.problem)
            supervision.tell(f"enforcing ({condition['mode']})")
        self._enforcing = enforcing
