# SPDX-License-Identifier: Apache-2.0
"""What a workload chose cannot move the cursor, add a line or hide text on a terminal."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.contract.records import Target
from enforcer.cli.output import (
    byte_count,
    local_time,
    print_json,
    print_model,
    print_table,
    printable,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("/usr/bin/git", "/usr/bin/git"),
        ("käse ☃", "käse ☃"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("nul\0", "nul\\x00"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\u200bthin\xa0", "\\u200bthin\\xa0"),
        ("\udcff", "\\udcff"),
        ("\x9b31m", "\\x9b31m"),
        (None, "-"),
        ("", "-"),
        (0, "0"),
        (["a", "\n"], "['a', '\\n']"),
    ],
)
def test_text_is_shown_on_one_line_without_controls(value: object, text: str) -> None:
    assert printable(value) == text


@given(st.text())
def test_nothing_unprintable_is_left(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")


def test_a_table_has_columns_and_one_line_for_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "N"), [("a\nb", 1), ("c", None)])
    assert capsys.readouterr().out == "NAME  N\na\\nb  1\nc     -\n"


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": "\x1b\n", "rows": []})
    output = capsys.readouterr().out
    assert json.loads(output) == {"text": "\x1b\n", "rows": []}
    assert "\x1b" not in output


def test_a_model_is_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    print_model(Target(text="\x9b", count=1))
    output = capsys.readouterr().out
    assert json.loads(output) == {"text": "\x9b", "count": 1}
    assert "\x9b" not in output


def test_a_time_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    try:
        assert local_time(1_795_433_214.9) == "2026-11-23 06:26:54"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (1e300, "1e+300"), (1e17, "1e+17")])
def test_a_time_that_is_none_is_shown_as_it_is(seconds: float | None, text: str) -> None:
    assert local_time(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (12 << 30, "12.0 GiB"),
     (3 << 50, "3072.0 TiB")],
)  # fmt: skip
def test_a_size_is_short(number: int, text: str) -> None:
    assert byte_count(number) == text
