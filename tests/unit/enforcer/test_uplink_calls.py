# SPDX-License-Identifier: Apache-2.0
"""Each call is told when it begins and when it ends, from the agent's own database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enforcer import uplink_calls
from enforcer.callbook import CallBook
from enforcer.uplink_calls import CallReader
from enforcer.uplink_state import CallPlace

START = CallPlace()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.db"


@pytest.fixture
def book(path: Path) -> Iterator[CallBook]:
    made = CallBook(path)
    yield made
    made.close()


@pytest.fixture
def reader(path: Path) -> Iterator[CallReader]:
    made = CallReader(path, "node-1", "boot-1")
    yield made
    made.close()


def begin(book: CallBook, name: str, arguments: Any = None) -> int:
    return book.open_call(
        call_id=name, episode="e", step=3, tool="shell", arguments=arguments, workload=7,
        binding="target:41", announced_by=40,
    ).number  # fmt: skip


def test_a_call_is_told_at_its_begin_and_at_its_end(book: CallBook, reader: CallReader) -> None:
    number = begin(book, "c-1", {"command": "ls \udcff"})
    [call], place = reader.read(START, 10)
    assert (call.node, call.boot, call.number, call.id) == ("node-1", "boot-1", number, "c-1")
    assert (call.episode, call.step, call.tool) == ("e", 3, "shell")
    assert (call.arguments, call.workload) == ({"command": "ls \udcff"}, 7)
    assert (call.binding, call.ended, call.ending) == ("target:41", None, None)
    assert place == CallPlace("boot-1", number, (number,))
    assert reader.read(place, 10) == ([], place)
    book.close_call(number, "ended")
    [call], place = reader.read(place, 10)
    assert (call.number, call.ending) == (number, "ended")
    assert call.ended is not None
    assert call.ended >= call.started
    assert place == CallPlace("boot-1", number, ())
    assert reader.read(place, 10) == ([], place)


def test_a_number_that_json_has_no_form_for_is_text(book: CallBook, reader: CallReader) -> None:
    begin(book, "c-1", {"limit": float("inf"), "at": float("nan")})
    [call], _ = reader.read(START, 10)
    assert call.arguments == {"limit": "Infinity", "at": "NaN"}


def test_a_call_that_ended_before_it_was_read_is_told_once(
    book: CallBook, reader: CallReader
) -> None:
    book.close_call(begin(book, "c-1"), "ended")
    [call], place = reader.read(START, 10)
    assert call.ended is not None
    assert place.open == ()


@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_many_calls_come_in_parts_and_all_of_them(
    limit: int, book: CallBook, reader: CallReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_calls, "PARAMETERS", 3)
    numbers = [begin(book, f"c-{index}") for index in range(20)]
    begun, place = _all(reader, START, limit)
    assert begun == numbers
    for number in numbers[::2]:
        book.close_call(number, "ended")
    late = begin(book, "late")
    found, place = _all(reader, place, limit)
    assert sorted(found) == sorted([*numbers[::2], late])
    assert sorted(place.open) == sorted([*numbers[1::2], late])


def _all(reader: CallReader, place: CallPlace, limit: int) -> tuple[list[int], CallPlace]:
    found: list[int] = []
    while True:
        calls, place = reader.read(place, limit)
        assert len(calls) <= limit
        if not calls:
            return found, place
        found += [call.number for call in calls]


def test_large_arguments_make_smaller_batches(
    book: CallBook, reader: CallReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_calls, "LARGEST_ARGUMENTS", 250)
    for index in range(5):
        begin(book, f"c-{index}", "x" * 100)
    calls, place = reader.read(START, 1000)
    assert [call.number for call in calls] == [1, 2]
    assert [call.number for call in reader.read(place, 1000)[0]] == [3, 4]
    begin(book, "large", "x" * 1000)
    assert _all(reader, CallPlace("boot-1", 5), 1000)[0] == [6]


def test_what_was_not_taken_is_read_again(book: CallBook, reader: CallReader) -> None:
    begin(book, "c-1")
    assert reader.read(START, 10) == reader.read(START, 10)


def test_after_a_reboot_numbers_begin_anew(book: CallBook, reader: CallReader) -> None:
    begin(book, "c-1")
    calls, place = reader.read(CallPlace("boot-0", 500, (499,)), 10)
    assert [call.number for call in calls] == [1]
    assert place.boot == "boot-1"


def test_without_an_agent_there_are_none(path: Path, reader: CallReader) -> None:
    assert reader.read(START, 10) == ([], CallPlace("boot-1"))
    book = CallBook(path)
    begin(book, "c-1")
    _, place = reader.read(START, 10)
    reader.close()
    book.close()
    assert not path.with_name("calls.db-wal").exists()
    assert [call.id for call in reader.read(START, 10)[0]] == ["c-1"]
    assert not path.with_name("calls.db-wal").exists()
    again = CallBook(path)
    begin(again, "c-2")
    assert [call.id for call in reader.read(place, 10)[0]] == ["c-2"]
    again.close()


def test_a_database_made_anew_is_opened_anew(path: Path, reader: CallReader) -> None:
    for name in ("old", "new"):
        book = CallBook(path)
        begin(book, name)
        [call], _ = reader.read(START, 10)
        assert call.id == name
        book.close()
        for left in path.parent.glob("calls.db*"):
            left.rename(left.with_suffix(".gone"))


@pytest.mark.parametrize("text", ["not a database" * 1000, None])
def test_a_database_that_cannot_be_read_is_named(
    text: str | None, path: Path, reader: CallReader
) -> None:
    if text is None:
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE calls (number INTEGER)")
        database.close()
    else:
        path.write_text(text)
    with pytest.raises(OSError, match=r"calls\.db: "):
        reader.read(START, 10)
    path.unlink()
    assert reader.read(START, 10)[0] == []


def test_damaged_arguments_are_named(book: CallBook, path: Path, reader: CallReader) -> None:
    begin(book, "c-1")
    database = sqlite3.connect(path)
    database.execute("UPDATE calls SET arguments = '{'")
    database.commit()
    database.close()
    with pytest.raises(OSError, match=r"calls\.db: "):
        reader.read(START, 10)


def test_reading_does_not_hold_up_the_agent(book: CallBook, reader: CallReader) -> None:
    """No read transaction stays open: the agent's log can be folded back."""
    begin(book, "c-1")
    reader.read(START, 10)
    busy = book._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    assert busy == 0
