# SPDX-License-Identifier: Apache-2.0
"""What a workload chose cannot move the cursor, add a line or hide text on a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcer.cli.output import print_json, print_table, printable


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
