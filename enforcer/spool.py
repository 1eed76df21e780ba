# SPDX-License-Identifier: Apache-2.0
"""Events on disk, in segments: what the node knows, kept within a size.

    <number>.events   msgpack mappings in a row, in the order the agent read them

The oldest whole segments go when the limit is reached; how many events went is kept in
`dropped`. A segment cut by a crash ends in a broken mapping, which readers leave out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import msgpack

from enforcer import paths

SEGMENT_BYTES = 16 << 20


class SpoolWriter:
    """The agent's end: append, rotate, drop."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = max(limit, 2 * SEGMENT_BYTES)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        numbers = segments(folder)
        self._number = (numbers[-1] if numbers else 0) + 1
        self._file = self._open()
        self._drop_oldest()

    def append(self, events: list[dict[str, Any]]) -> None:
        """Write events and hand them to the kernel: they outlive this process.

        Raises OSError (a full disk) with none of them written; the caller counts them.
        """
        packer = msgpack.Packer(use_bin_type=True, unicode_errors="surrogateescape")
        data = b"".join(packer.pack(event) for event in events)
        before = self._file.tell()
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
        except OSError:
            # A torn mapping would hide all that follows it in this segment.
            self._file.truncate(before)
            self._file.seek(before)
            raise
        if self._file.tell() >= SEGMENT_BYTES:
            self._file.close()
            self._number += 1
            self._file = self._open()
            self._drop_oldest()

    def dropped(self) -> int:
        """How many events were dropped for room, ever."""
        return dropped(self._folder)

    def close(self) -> None:
        """Close the current segment."""
        self._file.close()

    def _open(self) -> FileIO:
        return FileIO(segment_path(self._folder, self._number), "a")

    def _drop_oldest(self) -> None:
        numbers = segments(self._folder)
        sizes = {n: segment_path(self._folder, n).stat().st_size for n in numbers}
        total = sum(sizes.values())
        for number in numbers[:-1]:
            if total <= self._limit:
                break
            path = segment_path(self._folder, number)
            with path.open("rb") as file:
                gone = sum(1 for _ in whole_events(file))
            paths.write_atomically(self._folder / "dropped", str(self.dropped() + gone))
            path.unlink()
            total -= sizes[number]


def read_events(folder: Path, *, follow: bool = False) -> Iterator[dict[str, Any]]:
    """Every event kept, oldest first; with `follow` wait for more, without end.

    A reader that is overtaken by the dropping of old segments goes on with the oldest left.
    """
    number = 0
    while True:
        later = [n for n in segments(folder) if n > number]
        if not later:
            if not follow:
                return
            time.sleep(0.2)
            continue
        number = later[0]
        try:
            file = segment_path(folder, number).open("rb")
        except FileNotFoundError:
            continue
        with file:
            yield from _events(file)
            while follow and not any(n > number for n in segments(folder)):
                time.sleep(0.2)
                yield from _events(file)
            yield from _events(file)


def segments(folder: Path) -> list[int]:
    """Numbers of the segments there are, oldest first."""
    return sorted(int(path.stem) for path in folder.glob("*.events"))


def segment_path(folder: Path, number: int) -> Path:
    """The file of a segment."""
    return folder / f"{number:012d}.events"


def dropped(folder: Path) -> int:
    """How many events went for room, ever, whoever had read them by then."""
    path = folder / "dropped"
    return int(path.read_text()) if path.exists() else 0


def whole_events(file: BinaryIO) -> Iterator[tuple[dict[str, Any], int]]:
    """Whole mappings from the file's position on, each with the offset of its end.

    In the end the file's position stays before a broken one.
    """
    unpacker = msgpack.Unpacker(raw=False, unicode_errors="surrogateescape")
    start = file.tell()
    whole = 0
    event: Any = {}
    while isinstance(event, dict) and (chunk := file.read(1 << 16)):
        unpacker.feed(chunk)
        while True:
            try:
                event = unpacker.unpack()
            except msgpack.OutOfData:
                break
            except (ValueError, msgpack.exceptions.UnpackException):
                event = None
            if not isinstance(event, dict):
                break
            # Kept here: the unpacker's own position counts what it has of the next one too.
            whole = unpacker.tell()
            yield event, start + whole
    file.seek(start + whole)


def _events(file: BinaryIO) -> Iterator[dict[str, Any]]:
    for event, _ in whole_events(file):
        yield event
