# SPDX-License-Identifier: Apache-2.0
"""Reading a BPF ring buffer through its memory mapping, many records at a time.

Layout (kernel/bpf/ringbuf.c): page 0 holds the consumer's position and is ours to write, page 1
the producer's, then the data. (The kernel offers the data twice in a row, so that no record is
split; we map it once, since every mapped page counts as the agent's memory.) A record is a
4-byte length, 4 bytes the kernel's own, the data, padding to 8 bytes. The length's bit 31 says
that it is still being written, bit 30 that it was given up.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

BUSY = 1 << 31
DISCARDED = 1 << 30
HEADER = 8


class RingReader:
    """One ring. `descriptor` is also what to poll for reading."""

    def __init__(self, descriptor: int, size: int) -> None:
        page = mmap.PAGESIZE
        self.descriptor = descriptor
        self._mask = size - 1
        self._consumer = mmap.mmap(descriptor, page, mmap.MAP_SHARED)
        self._data_offset = page
        self._producer = mmap.mmap(
            descriptor, page + size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
        )
        (self._position,) = struct.unpack_from("@Q", self._consumer)

    def read(self, limit: int = 1 << 20) -> Iterator[bytes]:
        """Records in order, at most about `limit` bytes.

        The kernel keeps them until `commit`: a reader that dies before gives them to the next
        one again. Twice is better than never, and sequence numbers tell.
        """
        (end,) = struct.unpack_from("@Q", self._producer)
        stop = min(end, self._position + limit)
        while self._position < stop:
            place = self._data_offset + (self._position & self._mask)
            (head,) = struct.unpack_from("@I", self._producer, place)
            if head & BUSY:
                break
            length = head & (DISCARDED - 1)
            if not head & DISCARDED:
                yield self._bytes(self._position + HEADER, length)
            self._position += (HEADER + length + 7) & ~7

    def commit(self) -> None:
        """What was read is safe elsewhere: the kernel may use its room again."""
        struct.pack_into("@Q", self._consumer, 0, self._position)

    def _bytes(self, position: int, length: int) -> bytes:
        start = position & self._mask
        first = min(length, self._mask + 1 - start)
        place = self._data_offset + start
        data = self._producer[place : place + first]
        if first < length:
            data += self._producer[self._data_offset : self._data_offset + length - first]
        return data

    def close(self) -> None:
        """Unmap; the ring and what is unread stay."""
        self._consumer.close()
        self._producer.close()
