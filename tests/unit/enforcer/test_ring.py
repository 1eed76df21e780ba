# SPDX-License-Identifier: Apache-2.0
"""Records come out of a ring whole and in order, each taken once it was dealt with."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import pytest

from enforcer.ring import BUSY, DISCARDED, HEADER, RingReader

SIZE = 4096
PAGE = mmap.PAGESIZE


class Ring:
    """The kernel's end of a ring, in a file in memory laid out as the kernel maps it."""

    def __init__(self, size: int = SIZE, start: int = 0) -> None:
        self.descriptor = os.memfd_create("ring")
        self.size = size
        os.ftruncate(self.descriptor, 2 * PAGE + 2 * size)
        self.produced = start
        self._word(PAGE, start)
        self._word(0, start)

    def _word(self, place: int, value: int) -> None:
        os.pwrite(self.descriptor, value.to_bytes(8, "little"), place)

    def consumed(self) -> int:
        return int.from_bytes(os.pread(self.descriptor, 8, 0), "little")

    def write(self, data: bytes, flags: int = 0) -> int:
        """Place a record; returns where, for `finish`."""
        place = self.produced
        record = (len(data) | flags).to_bytes(4, "little") + b"\xaa" * 4 + data
        record += b"\xbb" * (-len(record) % 8)
        assert self.produced + len(record) - self.consumed() <= self.size
        for offset in range(0, len(record), 8):
            for copy in (0, self.size):
                where = 2 * PAGE + copy + (place + offset) % self.size
                os.pwrite(self.descriptor, record[offset : offset + 8], where)
        self.produced += len(record)
        self._word(PAGE, self.produced)
        return place

    def finish(self, place: int, length: int, flags: int = 0) -> None:
        """Take the busy mark off a record."""
        for copy in (0, self.size):
            where = 2 * PAGE + copy + place % self.size
            os.pwrite(self.descriptor, (length | flags).to_bytes(4, "little"), where)


@pytest.fixture
def ring() -> Iterator[Ring]:
    made = Ring()
    yield made
    os.close(made.descriptor)


@pytest.fixture
def reader(ring: Ring) -> Iterator[RingReader]:
    made = RingReader(ring.descriptor, ring.size)
    yield made
    made.close()


def take(reader: RingReader) -> list[bytes]:
    """Read what is there and let go of it."""
    records = list(reader.read())
    reader.commit()
    return records


def test_an_empty_ring_has_no_records(reader: RingReader) -> None:
    assert take(reader) == []


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 120, 4088 - HEADER])
def test_a_record_of_any_length_is_whole(length: int, ring: Ring, reader: RingReader) -> None:
    data = bytes(range(256)) * 16
    ring.write(data[:length])
    assert take(reader) == [data[:length]]
    assert ring.consumed() == ring.produced


def test_records_wrap_around_the_end(ring: Ring, reader: RingReader) -> None:
    expected: list[bytes] = []
    found: list[bytes] = []
    for number in range(500):
        data = bytes([number % 251]) * (1 + number * 37 % 700)
        ring.write(data)
        expected.append(data)
        if number % 3 == 2:
            found += take(reader)
    found += take(reader)
    assert found == expected
    assert ring.produced > 40 * SIZE


@pytest.mark.parametrize("start", [SIZE - 8, SIZE - 16, (1 << 32) - 8, (1 << 40) + SIZE - 24])
def test_a_record_over_the_end_is_one_piece(start: int) -> None:
    ring = Ring(start=start)
    reader = RingReader(ring.descriptor, ring.size)
    data = bytes(range(200))
    ring.write(data)
    ring.write(data[::-1])
    assert take(reader) == [data, data[::-1]]
    reader.close()
    os.close(ring.descriptor)


def test_a_record_being_written_holds_back_those_after_it(ring: Ring, reader: RingReader) -> None:
    ring.write(b"first")
    place = ring.write(b"second", BUSY)
    ring.write(b"third")
    assert take(reader) == [b"first"]
    assert take(reader) == []
    assert ring.consumed() == place
    ring.finish(place, len(b"second"))
    assert take(reader) == [b"second", b"third"]


def test_a_record_that_was_given_up_is_passed_over(ring: Ring, reader: RingReader) -> None:
    ring.write(b"first")
    ring.write(b"never", DISCARDED)
    ring.write(b"third")
    assert take(reader) == [b"first", b"third"]
    assert ring.consumed() == ring.produced


def test_a_limit_stops_after_about_that_many_bytes(ring: Ring, reader: RingReader) -> None:
    for number in range(10):
        ring.write(bytes([number]) * 92)
    sizes = []
    while records := list(reader.read(limit=250)):
        sizes.append(len(records))
    assert sizes == [3, 3, 3, 1]


def test_what_is_written_during_a_read_is_for_the_next(ring: Ring, reader: RingReader) -> None:
    ring.write(b"first")
    records = reader.read()
    assert next(records) == b"first"
    ring.write(b"second")
    assert list(records) == []
    assert take(reader) == [b"second"]


def test_what_is_not_committed_goes_to_the_next_reader(ring: Ring) -> None:
    """A reader that dies before it has stored what it read leaves all of it."""
    for data in (b"first", b"second"):
        ring.write(data)
    dying = RingReader(ring.descriptor, ring.size)
    assert list(dying.read()) == [b"first", b"second"]
    dying.close()
    heir = RingReader(ring.descriptor, ring.size)
    assert take(heir) == [b"first", b"second"]
    assert ring.consumed() == ring.produced
    heir.close()
