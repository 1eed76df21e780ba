# SPDX-License-Identifier: Apache-2.0
"""Sends events and calls in order, and goes on only from what the control plane has on disk.

What it refuses is narrowed down, so that one fault in a batch costs one event and not the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from loguru import logger

from controlplane.client import ApiError, ApiUnavailable
from controlplane.contract.records import IngestResult, ToolCall
from enforcer.uplink_calls import CallReader
from enforcer.uplink_spool import SpoolReader
from enforcer.uplink_state import CallPlace, SpoolPlace, UplinkState

LARGEST_BATCH = 1000
REFUSALS = frozenset({400, 413, 422})
"""Answers that would be the same the next time: the fault is in the batch."""
FORBIDDEN = 403


class Ingest(Protocol):
    """What is needed of the client."""

    def ingest(
        self,
        node: str,
        boot: str,
        *,
        events: Sequence[dict[str, Any]] = (),
        calls: Sequence[ToolCall] = (),
        dropped: int = 0,
    ) -> Awaitable[IngestResult]: ...


class BatchSize:
    """Halved by a refusal down to one, doubled by a success up to the largest."""

    def __init__(self) -> None:
        self.number = LARGEST_BATCH

    def accepted(self) -> None:
        """The batch was taken."""
        self.number = min(LARGEST_BATCH, 2 * self.number)

    def refused(self, count: int) -> bool:
        """A batch of `count` was refused; whether it was a single one, to be passed over."""
        self.number = max(1, min(self.number, count) // 2)
        return count == 1


class Shipper:
    """state: how far it has come; changed by what the control plane acknowledges."""

    def __init__(
        self, state: UplinkState, events: SpoolReader, calls: CallReader, node: str, boot: str
    ) -> None:
        self.state = state
        self._events = events
        self._calls = calls
        self._node = node
        self._boot = boot
        self._event_batch = BatchSize()
        self._call_batch = BatchSize()
        self._without_arguments: set[int] = set()

    async def send(self, client: Ingest) -> bool:
        """One batch of events, after the calls that it may name; False if nothing was to be sent.

        Raises ApiError or ApiUnavailable if it is to be tried again, OSError if the node's own
        files cannot be read.
        """
        stretch = self._events.read(self.state.spool, self._event_batch.number)
        # Read after the events: by then each call that they name is on record.
        fault: OSError | None = None
        calls_sent = False
        try:
            calls_sent = await self._send_calls(client)
        except ApiUnavailable:
            raise
        except OSError as error:
            # Of this node's own file; the events do not wait for it to be mended.
            fault = error
        if not stretch.events:
            if fault is not None:
                raise fault
            self.state = replace(self.state, spool=stretch.after)
            return calls_sent
        node, boot = stretch.events[0]["node"], stretch.events[0]["boot"]
        lost = stretch.after.lost
        try:
            await client.ingest(node, boot, events=stretch.events, dropped=lost)
        except (ApiError, ValueError) as error:
            self._events_refused(error, stretch.events, stretch.after)
        else:
            self._event_batch.accepted()
            self.state = replace(self.state, spool=stretch.after)
        return True

    async def _send_calls(self, client: Ingest) -> bool:
        sent = False
        while True:
            calls, after = self._calls.read(self.state.calls, self._call_batch.number)
            if not calls:
                self.state = replace(self.state, calls=after)
                return sent
            sent = True
            calls = [self._as_taken(call) for call in calls]
            lost = self.state.spool.lost
            try:
                await client.ingest(self._node, self._boot, calls=calls, dropped=lost)
            except (ApiError, ValueError) as error:
                self._calls_refused(error, calls, after)
            else:
                self._call_batch.accepted()
                self.state = replace(self.state, calls=after)

    def _events_refused(
        self, error: Exception, events: list[dict[str, Any]], after: SpoolPlace
    ) -> None:
        node = events[0]["node"]
        if _status(error) == FORBIDDEN and node != self._node:
            # Recorded under another name, for which this node's token does not hold.
            count = len(events)
        elif not _is_refusal(error):
            raise error
        elif self._event_batch.refused(len(events)):
            count = 1
        else:
            return
        first = events[0]
        logger.error(
            "{} events of node {}, from number {} of workload {} on, are refused: {}",
            count, node, first.get("sequence"), first.get("workload"), error,
        )  # fmt: skip
        self.state = replace(self.state, spool=after, refused=self.state.refused + count)

    def _calls_refused(self, error: Exception, calls: list[ToolCall], after: CallPlace) -> None:
        if not _is_refusal(error):
            raise error
        if not self._call_batch.refused(len(calls)):
            return
        call = calls[0]
        logger.error("call {} is refused: {}", call.number, error)
        if call.arguments is not None:
            # The model chose them: they must not keep its call off the record.
            self._without_arguments.add(call.number)
        else:
            self.state = replace(self.state, calls=after, refused=self.state.refused + 1)

    def _as_taken(self, call: ToolCall) -> ToolCall:
        if call.number not in self._without_arguments:
            return call
        return call.model_copy(update={"arguments": None})


def _status(error: Exception) -> int | None:
    return error.status if isinstance(error, ApiError) else None


def _is_refusal(error: Exception) -> bool:
    """Whether the fault is in the batch; a ValueError says that it cannot even be packed."""
    return isinstance(error, ValueError) or _status(error) in REFUSALS
