# SPDX-License-Identifier: Apache-2.0
"""Reads the spool from a place on, a batch at a time, while the agent writes and drops."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from enforcer import spool
from enforcer.uplink_state import SpoolPlace

LARGEST_STRETCH = 8 << 20
"""Bytes of events in one batch: the control plane takes 16 MiB."""
LARGEST_EVENT = 1 << 16
"""More bytes than an event has: where as many hold none, the place is not between two."""


@dataclass(frozen=True)
class Stretch:
    """Events of one node and one boot, in order. after: the place behind them."""

    events: list[dict[str, Any]]
    after: SpoolPlace


class SpoolReader:
    """The spool's folder, of which it changes nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, place: SpoolPlace, limit: int) -> Stretch:
        """Up to `limit` events from `place` on; none if there are no more yet.

        Raises OSError if the spool cannot be read.
        """
        while True:
            # Listed first: a segment that had a successor by then is read to its very end.
            numbers = spool.segments(self._folder)
            try:
                place = self._settled(place, numbers)
                if place.segment not in numbers:
                    return Stretch([], place)
                later = next((number for number in numbers if number > place.segment), None)
                stretch = self._read_segment(place, limit, last=later is None)
                if stretch.events:
                    return stretch
                if stretch.after != place:
                    place = stretch.after
                elif later is None:
                    return stretch
                else:
                    # What is left of this one was cut by a crash.
                    place = replace(place, segment=later, inode=self._inode(later), offset=0)
            except FileNotFoundError:
                # Dropped while we looked.
                continue

    def waiting(self, place: SpoolPlace) -> int:
        """Bytes behind `place`."""
        total = 0
        for number in spool.segments(self._folder):
            if number < place.segment:
                continue
            try:
                size = spool.segment_path(self._folder, number).stat().st_size
            except FileNotFoundError:
                continue
            total += max(0, size - place.offset) if number == place.segment else size
        return total

    def _settled(self, place: SpoolPlace, numbers: list[int]) -> SpoolPlace:
        """The place in a segment that exists: the same, or behind what is gone."""
        if not numbers:
            return place
        if place.segment in numbers and self._inode(place.segment) == place.inode:
            return place
        oldest, gone = numbers[0], spool.dropped(self._folder)
        lost = 0
        if 0 < place.segment < oldest:
            lost = max(0, gone - place.position)
            gone = max(gone, place.position)
        # Else the first look, or another spool than before, of which everything is to be sent.
        return SpoolPlace(oldest, self._inode(oldest), 0, gone, place.lost + lost)

    def _read_segment(self, place: SpoolPlace, limit: int, *, last: bool) -> Stretch:
        with spool.segment_path(self._folder, place.segment).open("rb") as file:
            events, offset = _events_from(file, place.offset, limit)
            if events:
                position = place.position + len(events)
                return Stretch(events, replace(place, offset=offset, position=position))
            left = file.seek(0, os.SEEK_END) - place.offset
            # A write may be under way at the end of the last segment; nowhere else.
            if left < 0 or left > (LARGEST_EVENT if last else 0):
                offset = _boundary_before(file, place.offset)
        return Stretch([], replace(place, offset=offset))

    def _inode(self, number: int) -> int:
        return spool.segment_path(self._folder, number).stat().st_ino


def _events_from(file: BinaryIO, offset: int, limit: int) -> tuple[list[dict[str, Any]], int]:
    """Events of one node and boot, and the offset behind them."""
    file.seek(offset)
    events: list[dict[str, Any]] = []
    origin: tuple[object, object] | None = None
    start = offset
    for event, end in spool.whole_events(file):
        found = event.get("node"), event.get("boot")
        # Where the place is not between two events, parts of one may look whole.
        if not all(isinstance(part, str) for part in found):
            break
        if origin is None:
            origin = found
        if found != origin or len(events) == limit or end - start > LARGEST_STRETCH:
            break
        events.append(event)
        offset = end
    return events, offset


def _boundary_before(file: BinaryIO, offset: int) -> int:
    """The last offset up to `offset` at which an event ends.

    An agent that finds the disk full takes back a part that we may have read already, and a power
    cut may shorten a file: then our place is not between two events any more.
    """
    file.seek(0)
    boundary = 0
    for _, end in spool.whole_events(file):
        if end > offset:
            break
        boundary = end
    return boundary
