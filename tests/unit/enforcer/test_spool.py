# SPDX-License-Identifier: Apache-2.0
"""The spool gives back what was appended, within its size, and says how much it let go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import msgpack
import pytest

from enforcer import spool
from enforcer.spool import SpoolWriter, read_events


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1000)


def _event(number: int, size: int = 80) -> dict[str, Any]:
    return {"sequence": number, "text": "x" * size}


def _sequences(events: Iterator[dict[str, Any]]) -> list[int]:
    return [event["sequence"] for event in events]


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.events"))


def _filled(folder: Path, count: int, limit: int = 1 << 20) -> SpoolWriter:
    writer = SpoolWriter(folder, limit)
    for number in range(count):
        writer.append([_event(number)])
    return writer


def test_events_come_back_in_order_over_many_segments(tmp_path: Path) -> None:
    _filled(tmp_path, 100).close()
    assert len(_segments(tmp_path)) > 5
    assert _sequences(read_events(tmp_path)) == list(range(100))


def test_an_empty_spool_has_no_events(tmp_path: Path) -> None:
    assert list(read_events(tmp_path)) == []


def test_text_that_no_encoding_holds_comes_back(tmp_path: Path) -> None:
    hostile = {"sequence": 1, "text": "\udcff\n\0\u202e", "bytes": b"\xff"}
    writer = SpoolWriter(tmp_path, 0)
    writer.append([hostile])
    assert list(read_events(tmp_path)) == [hostile]
    writer.close()


def test_the_oldest_go_when_the_limit_is_reached_and_are_counted(tmp_path: Path) -> None:
    writer = _filled(tmp_path, 100, limit=3000)
    kept = _sequences(read_events(tmp_path))
    assert kept == list(range(100 - len(kept), 100))
    assert writer.dropped() == 100 - len(kept) > 0
    assert sum(path.stat().st_size for path in _segments(tmp_path)) <= 3000 + 1100
    writer.close()
    again = SpoolWriter(tmp_path, 3000)
    assert again.dropped() >= 100 - len(kept)
    again.close()


def test_a_restarted_agent_goes_on_in_a_segment_of_its_own(tmp_path: Path) -> None:
    _filled(tmp_path, 3).close()
    again = SpoolWriter(tmp_path, 0)
    again.append([_event(3)])
    again.close()
    assert len(_segments(tmp_path)) == 2
    assert _sequences(read_events(tmp_path)) == [0, 1, 2, 3]


def test_restarts_alone_keep_the_limit_too(tmp_path: Path) -> None:
    """An agent that never fills a segment never rotates one."""
    for start in range(20):
        writer = SpoolWriter(tmp_path, 2000)
        writer.append([_event(start, size=700)])
        writer.close()
    assert sum(path.stat().st_size for path in _segments(tmp_path)) < 4000
    kept = _sequences(read_events(tmp_path))
    assert kept == list(range(20 - len(kept), 20))
    assert (tmp_path / "dropped").read_text() == str(20 - len(kept))


@pytest.mark.parametrize("cut", range(1, 90, 8))
def test_a_segment_cut_by_a_crash_ends_before_the_broken_event(cut: int, tmp_path: Path) -> None:
    _filled(tmp_path, 5).close()
    [path] = _segments(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    later = SpoolWriter(tmp_path, 0)
    later.append([_event(5)])
    later.close()
    assert _sequences(read_events(tmp_path)) == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\xc1\xc1", b"\x01\x02", b"\x91\x01", b"\x81\x01"])
def test_a_tail_that_is_no_event_is_left_out(tail: bytes, tmp_path: Path) -> None:
    """After a power cut a file may end in zeros."""
    _filled(tmp_path, 5).close()
    [path] = _segments(tmp_path)
    path.write_bytes(path.read_bytes() + tail)
    assert _sequences(read_events(tmp_path)) == [0, 1, 2, 3, 4]


def test_an_event_half_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    packed = [msgpack.packb(_event(number)) for number in range(3)]
    path = tmp_path / "000000000001.events"
    path.write_bytes(packed[0] + packed[1][:50])
    reader = read_events(tmp_path, follow=True)
    assert next(reader)["sequence"] == 0
    with path.open("ab") as file:
        for part in (packed[1][50:60], packed[1][60:], packed[2][:1], packed[2][1:]):
            file.write(part)
            file.flush()
            if part is packed[1][50:60]:
                continue
    assert _sequences(islice(reader, 2)) == [1, 2]


def test_a_follower_polls_an_event_that_is_half_there(tmp_path: Path) -> None:
    packed = msgpack.packb(_event(1))
    path = tmp_path / "000000000001.events"
    path.write_bytes(packed + packed[:40])
    reader = read_events(tmp_path, follow=True)
    next(reader)
    timer = threading.Timer(0.5, lambda: path.write_bytes(packed * 2))
    timer.start()
    assert next(reader)["sequence"] == 1
    timer.join()


def test_a_full_disk_leaves_the_spool_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = _filled(tmp_path, 3)
    real = writer._file

    class Full:
        """Takes a part, then has no room."""

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def write(self, data: bytes) -> int:
            if len(data) < 400:
                raise OSError(28, "No space left on device")
            return real.write(data[:50])

    monkeypatch.setattr(writer, "_file", Full())
    with pytest.raises(OSError, match="No space left"):
        writer.append([_event(number, size=100) for number in range(3, 7)])
    monkeypatch.setattr(writer, "_file", real)
    writer.append([_event(7)])
    assert _sequences(read_events(tmp_path)) == [0, 1, 2, 7]
    writer.close()


def test_a_follower_gets_what_is_appended_later_over_segments(tmp_path: Path) -> None:
    writer = _filled(tmp_path, 2)

    def append() -> None:
        for number in range(2, 40):
            writer.append([_event(number)])

    reader = read_events(tmp_path, follow=True)
    assert _sequences(islice(reader, 2)) == [0, 1]
    thread = threading.Timer(0.3, append)
    thread.start()
    assert _sequences(islice(reader, 38)) == list(range(2, 40))
    thread.join()
    writer.close()


def test_a_follower_waits_for_the_first_segment(tmp_path: Path) -> None:
    reader = read_events(tmp_path, follow=True)
    timer = threading.Timer(0.3, lambda: _filled(tmp_path, 1).close())
    timer.start()
    assert next(reader)["sequence"] == 0
    timer.join()


def test_a_reader_that_is_overtaken_goes_on_with_the_oldest_left(tmp_path: Path) -> None:
    _filled(tmp_path, 60).close()
    reader = read_events(tmp_path)
    first = next(reader)["sequence"]
    segments = _segments(tmp_path)
    for path in segments[:3]:
        path.unlink()
    rest = _sequences(reader)
    in_first = 1 + next(i for i, (a, b) in enumerate(pairwise(rest)) if b != a + 1)
    assert first == 0
    assert rest == sorted(rest)
    assert rest[-1] == 59
    assert rest[in_first:] == _sequences(read_events(tmp_path))
