# SPDX-License-Identifier: Apache-2.0
"""The uplink reads every event once, in order, whatever the agent and crashes do to the spool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from enforcer import spool, uplink_spool
from enforcer.spool import SpoolWriter
from enforcer.uplink_spool import SpoolReader
from enforcer.uplink_state import SpoolPlace

START = SpoolPlace()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(uplink_spool, "LARGEST_EVENT", 300)


def event(number: int, *, boot: str = "boot-1", node: str = "node-1") -> dict[str, Any]:
    subject = {"node": "x", "boot": "y", "pid": number}
    return {"node": node, "boot": boot, "sequence": number, "subject": subject, "text": "x" * 60}


def written(folder: Path, numbers: range, limit: int = 1 << 20, **fields: str) -> None:
    writer = SpoolWriter(folder, limit)
    for number in numbers:
        writer.append([event(number, **fields)])
    writer.close()


def read_all(
    folder: Path, place: SpoolPlace = START, limit: int = 7
) -> tuple[list[int], SpoolPlace]:
    """Sequence numbers from `place` on, read in batches, and the place behind them."""
    reader = SpoolReader(folder)
    found: list[int] = []
    while (stretch := reader.read(place, limit)).events:
        assert len(stretch.events) <= limit
        found += [each["sequence"] for each in stretch.events]
        place = stretch.after
    return found, stretch.after


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_batches_cover_every_event_over_all_segments(limit: int, tmp_path: Path) -> None:
    written(tmp_path, range(50))
    found, place = read_all(tmp_path, limit=limit)
    assert found == list(range(50))
    assert (place.position, place.lost) == (50, 0)
    assert SpoolReader(tmp_path).waiting(place) == 0


def test_what_comes_later_is_read_from_the_place_on(tmp_path: Path) -> None:
    written(tmp_path, range(5))
    _, place = read_all(tmp_path)
    written(tmp_path, range(5, 40))
    assert read_all(tmp_path, place)[0] == list(range(5, 40))


def test_an_empty_spool_has_nothing(tmp_path: Path) -> None:
    assert SpoolReader(tmp_path / "absent").read(START, 10).events == []
    SpoolWriter(tmp_path, 0).close()
    assert read_all(tmp_path)[0] == []


def test_a_batch_holds_one_boot_of_one_node(tmp_path: Path) -> None:
    written(tmp_path, range(3))
    written(tmp_path, range(3, 5), boot="boot-2")
    written(tmp_path, range(5, 7), boot="boot-2", node="renamed")
    writer = SpoolWriter(tmp_path, 0)
    writer.append([event(7), event(8, boot="boot-2"), event(9)])
    writer.close()
    reader, place = SpoolReader(tmp_path), START
    batches = []
    while (stretch := reader.read(place, 1000)).events:
        batches.append([each["sequence"] for each in stretch.events])
        place = stretch.after
    assert [batch for batch in batches if len(batch) == 1] == [[7], [8], [9]]
    assert [number for batch in batches for number in batch] == list(range(10))


def test_a_batch_is_limited_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 1 << 20)
    monkeypatch.setattr(uplink_spool, "LARGEST_STRETCH", 500)
    written(tmp_path, range(20))
    stretch = SpoolReader(tmp_path).read(START, 1000)
    assert 0 < stretch.after.offset <= 500
    assert len(stretch.events) < 20


@pytest.mark.parametrize("cut", [1, 30, 100])
def test_a_segment_cut_by_a_crash_is_passed_over_once_there_is_a_later_one(
    cut: int, tmp_path: Path
) -> None:
    written(tmp_path, range(4))
    [path] = tmp_path.glob("*.events")
    path.write_bytes(path.read_bytes()[:-cut])
    found, place = read_all(tmp_path)
    assert found == [0, 1, 2]
    assert SpoolReader(tmp_path).read(place, 10).after == place
    written(tmp_path, range(4, 6))
    assert read_all(tmp_path, place)[0] == [4, 5]


@pytest.mark.parametrize("tail", [b"\0" * 999, b"\xc1" * 9, b"\x81\x01"])
def test_a_tail_that_is_no_event_is_passed_over(tail: bytes, tmp_path: Path) -> None:
    written(tmp_path, range(4))
    [path] = tmp_path.glob("*.events")
    path.write_bytes(path.read_bytes() + tail)
    written(tmp_path, range(4, 6))
    assert read_all(tmp_path)[0] == list(range(6))


def test_an_event_half_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    packed = [msgpack.packb(event(number)) for number in range(2)]
    path = tmp_path / "000000000001.events"
    path.write_bytes(packed[0] + packed[1][:50])
    found, place = read_all(tmp_path)
    assert found == [0]
    path.write_bytes(packed[0] + packed[1])
    assert read_all(tmp_path, place)[0] == [1]


def test_events_that_a_full_disk_took_back_do_not_hide_later_ones(tmp_path: Path) -> None:
    """We read two events before the agent cut them off again; what follows is not in step."""
    packed = [msgpack.packb(event(number)) for number in range(20)]
    path = tmp_path / "000000000001.events"
    path.write_bytes(b"".join(packed[:4]))
    _, place = read_all(tmp_path)
    path.write_bytes(b"".join(packed[:2]))
    assert SpoolReader(tmp_path).read(place, 10).events == []
    # Now our place lies in the middle of an event.
    odd = msgpack.packb({**event(10), "text": "x" * 77})
    path.write_bytes(b"".join([*packed[:2], odd, *packed[11:20]]))
    found, _ = read_all(tmp_path, place)
    assert found[-9:] == list(range(11, 20))
    assert set(found) <= {10, *range(11, 20)}


def test_a_file_that_a_power_cut_shortened_is_left_for_the_next(tmp_path: Path) -> None:
    written(tmp_path, range(5))
    _, place = read_all(tmp_path)
    [path] = tmp_path.glob("*.events")
    path.write_bytes(path.read_bytes()[:200])
    written(tmp_path, range(5, 8))
    assert read_all(tmp_path, place)[0] == [5, 6, 7]


def test_what_was_dropped_before_it_was_sent_is_counted_exactly(tmp_path: Path) -> None:
    written(tmp_path, range(10))
    _, place = read_all(tmp_path)
    written(tmp_path, range(10, 100), limit=3000)
    found, after = read_all(tmp_path, place)
    assert found == list(range(found[0], 100))
    assert after.lost == found[0] - 10 > 0
    assert after.position == 100


def test_what_was_sent_before_it_was_dropped_is_not_lost(tmp_path: Path) -> None:
    place = START
    for start in range(0, 200, 10):
        written(tmp_path, range(start, start + 10), limit=3000)
        found, place = read_all(tmp_path, place)
        assert found == list(range(start, start + 10))
    assert int((tmp_path / "dropped").read_text()) > 0
    assert (place.lost, place.position) == (0, 200)


def test_an_uplink_that_starts_late_begins_with_the_oldest_there_is(tmp_path: Path) -> None:
    written(tmp_path, range(100), limit=3000)
    found, place = read_all(tmp_path)
    assert found == list(range(found[0], 100))
    assert (place.lost, place.position) == (0, 100)


@pytest.mark.parametrize("count", [3, 60])
def test_another_spool_in_the_old_ones_place_is_read_from_its_beginning(
    count: int, tmp_path: Path
) -> None:
    written(tmp_path, range(30))
    _, place = read_all(tmp_path)
    for path in tmp_path.iterdir():
        path.rename(path.with_suffix(".old"))
    written(tmp_path, range(100, 100 + count))
    assert read_all(tmp_path, place)[0] == list(range(100, 100 + count))


def test_a_segment_dropped_while_we_look_is_nothing_special(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, range(40))
    real = spool.segments
    gone: list[int] = []

    def listed(folder: Path) -> list[int]:
        numbers = real(folder)
        if not gone:
            gone.append(numbers[0])
            spool.segment_path(folder, numbers[0]).unlink()
        return numbers

    monkeypatch.setattr(spool, "segments", listed)
    found, _ = read_all(tmp_path)
    assert found == list(range(found[0], 40))
    assert found[0] > 0


def test_waiting_counts_the_bytes_behind_the_place(tmp_path: Path) -> None:
    written(tmp_path, range(30))
    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("*.events"))]
    reader = SpoolReader(tmp_path)
    assert reader.waiting(START) == sum(sizes)
    stretch = reader.read(START, 1)
    assert reader.waiting(stretch.after) == sum(sizes) - stretch.after.offset
    assert reader.waiting(replace(stretch.after, offset=10**9)) == sum(sizes[1:])
