# SPDX-License-Identifier: Apache-2.0
"""Whatever a model puts into text, it is stored and given back as something that JSON can say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.storage.plain import DEPTH_LIMIT, column_text, plain_json

HOSTILE = st.text(st.characters())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | HOSTILE | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(HOSTILE | st.integers(), inner),
    max_leaves=20,
)


def nested(levels: int) -> Any:
    value: Any = "the end"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("Grüße 🙂", "Grüße 🙂"),
        ("a\0b", "a\\x00b"),
        ("ü\0", "ü\\x00"),
        ("\udcff", "\\udcff"),
        ("line\nend\x1b[31m", "line\nend\x1b[31m"),
    ],
)
def test_a_column_takes_all_text(text: str, stored: str) -> None:
    assert column_text(text) == stored


@settings(deadline=None)
@given(VALUES)
def test_anything_becomes_json_that_every_parser_takes(value: Any) -> None:
    plain, text = plain_json(value)
    text.encode("ascii")
    said = json.loads(text)
    assert json.loads(json.dumps(plain, allow_nan=False)) == said
    json.dumps(plain, ensure_ascii=False, allow_nan=False).encode("utf-8")
    assert plain_json(said) == (said, text)


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, True, "🙂\0"]}, nested(DEPTH_LIMIT), ""])
def test_what_json_can_say_stays_itself(value: Any) -> None:
    assert plain_json(value)[0] == value


@pytest.mark.parametrize("levels", [DEPTH_LIMIT + 1, 900, 100_000])
def test_what_is_nested_too_deep_is_cut(levels: int) -> None:
    plain, _ = plain_json(nested(levels))
    depth = 0
    while isinstance(plain, list):
        (plain,) = plain
        depth += 1
    assert (depth, plain) == (DEPTH_LIMIT, "(nested too deep)")
