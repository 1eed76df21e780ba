# SPDX-License-Identifier: Apache-2.0
"""From the rings to the spool: read, decode, append, and tell the kernel what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from loguru import logger

from enforcer import abi
from enforcer.abi import EventKind
from enforcer.decode import Decoder
from enforcer.maps import Maps
from enforcer.names import CANARY_SLOT
from enforcer.ring import RingReader
from enforcer.spool import SpoolWriter

BATCH_BYTES = 256 << 10


class EventReader:
    """Drains both rings. The denial ring first: it is the small one and the one that counts."""

    def __init__(
        self,
        maps: Maps,
        decoder: Decoder,
        spool: SpoolWriter,
        on_workload: Callable[[abi.Event], None],
        on_denial: Callable[[abi.Event], None],
    ) -> None:
        self._maps = maps
        self._decoder = decoder
        self._spool = spool
        self._on_workload = on_workload
        self._on_denial = on_denial
        self.denials = RingReader(maps.descriptors["denials"], abi.DENIAL_RING_SIZE)
        self.activity = RingReader(maps.descriptors["activity"], abi.ACTIVITY_RING_SIZE)
        self.undecodable = 0
        self.unwritten = 0

    def drain(self) -> int:
        """Read what is there, up to a batch of each ring; returns how many events it was."""
        events: list[dict[str, Any]] = []
        consumed: Counter[int] = Counter()
        for record in self.denials.read(BATCH_BYTES):
            head = self._take(record, events)
            if head is not None:
                consumed[head.workload] += len(record)
                self._on_denial(head)
        for record in self.activity.read(BATCH_BYTES):
            head = self._take(record, events)
            if head is not None and head.kind in (EventKind.WORKLOAD, EventKind.WORKLOAD_END):
                self._on_workload(head)
        if events:
            # As they happened, for those who read the spool: it came from two rings.
            events.sort(key=itemgetter("time"))
            self.store(events)
        # After the append: rings and quotas hold what is not safe on disk yet. The quota first:
        # an agent that dies in between credits it twice, which the kernel bears.
        for workload, size in consumed.items():
            self._maps.consumed.put(workload, (self._maps.consumed.get(workload) or 0) + size)
        self.denials.commit()
        self.activity.commit()
        return len(events)

    def store(self, events: list[dict[str, Any]]) -> None:
        """Append to the spool; what the disk has no room for is counted."""
        try:
            self._spool.append(events)
        except OSError as error:
            self.unwritten += len(events)
            logger.error("{} events lost, {} so far: {}", len(events), self.unwritten, error)

    def _take(self, record: bytes, events: list[dict[str, Any]]) -> abi.Event | None:
        head = None
        try:
            head = abi.Event.from_buffer_copy(record)
            if head.policy != CANARY_SLOT:
                events.append(self._decoder.decode(record))
        except ValueError as error:
            self.undecodable += 1
            logger.error("event left out: {}", error)
        return head

    def close(self) -> None:
        """Unmap the rings; what is unread stays in them for the next agent."""
        self.denials.close()
        self.activity.close()
