# SPDX-License-Identifier: Apache-2.0
"""A call can be named as long as the boot lasts, whatever became of the agent meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enforcer import callbook
from enforcer.callbook import Call, CallBook


@pytest.fixture
def book(tmp_path: Path) -> Iterator[CallBook]:
    made = CallBook(tmp_path / "run/calls.db")
    yield made
    made.close()


def open_call(book: CallBook, **fields: Any) -> Call:
    given: dict[str, Any] = {
        "call_id": "call-1", "episode": "episode-1", "step": 3, "tool": "bash",
        "arguments": {"cmd": "ls"}, "workload": 100, "binding": "target:42", "announced_by": 41,
        **fields,
    }  # fmt: skip
    return book.open_call(**given)


def test_an_open_call_is_found_by_its_number(book: CallBook) -> None:
    call = open_call(book)
    assert book.get(call.number) == call
    assert call.reference() == {
        "number": call.number, "id": "call-1", "episode": "episode-1", "step": 3, "tool": "bash",
    }  # fmt: skip
    assert call.ended is None


def test_numbers_are_never_given_twice(book: CallBook, tmp_path: Path) -> None:
    numbers = [open_call(book).number for _ in range(3)]
    again = CallBook(tmp_path / "run/calls.db")
    numbers.append(open_call(again).number)
    again.close()
    assert numbers == sorted(set(numbers))
    assert numbers[0] > 0


def test_a_restarted_agent_names_earlier_calls(book: CallBook, tmp_path: Path) -> None:
    open_, ended = open_call(book), open_call(book, call_id="two", episode=None, step=None)
    book.close_call(ended.number, "ended")
    book.bind_episode(100, "episode-9")
    again = CallBook(tmp_path / "run/calls.db")
    assert again.get(open_.number) == open_
    found = again.get(ended.number)
    assert found is not None
    assert found.ended is not None
    assert replace(found, ended=None) == ended
    assert again.bound_episode(100) == "episode-9"
    again.close()


def test_the_first_end_counts(book: CallBook) -> None:
    number = open_call(book).number
    book.close_call(number, "ended")
    first = book.get(number)
    book.close_call(number, "disconnected")
    assert book.get(number) == first


def test_memory_holds_a_bounded_number_and_the_rest_is_still_found(
    book: CallBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbook, "CACHE_SIZE", 10)
    calls = [open_call(book, call_id=f"call-{n}") for n in range(50)]
    for call in [*calls, *reversed(calls)]:
        assert book.get(call.number) == call
        assert len(book._cache) <= 10


@pytest.mark.parametrize("number", [0, -1, 999, 1 << 62, 1 << 63, 1 << 64, -(1 << 70)])
def test_a_number_that_stands_for_no_call_is_none(number: int, book: CallBook) -> None:
    assert book.get(number) is None


def test_held_calls_are_those_still_open(book: CallBook) -> None:
    open_call(book)
    held = open_call(book, held_since="77")
    ended = open_call(book, held_since="78")
    book.close_call(ended.number, "ended")
    assert book.held_calls() == [(held.number, 41, "77")]


def test_a_workload_runs_the_last_episode_that_it_was_bound_to(book: CallBook) -> None:
    assert book.bound_episode(100) is None
    book.bind_episode(100, "one")
    book.bind_episode(100, "two")
    assert book.bound_episode(100) == "two"
    assert book.bound_episode(101) is None


def test_hostile_text_is_stored_as_text(book: CallBook) -> None:
    nasty = "x'); DROP TABLE calls; --\n\0\u202e"
    call = open_call(book, call_id=nasty, episode=nasty, tool=nasty, arguments=nasty)
    book._cache.clear()
    assert book.get(call.number) == call
