# SPDX-License-Identifier: Apache-2.0
"""Bytes that some program chose arrive intact, and as text that any JSON parser takes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.contract.event import exact_bytes, text_field


@given(st.binary(max_size=64))
def test_bytes_come_back_as_they_were(raw: bytes) -> None:
    fields = json.loads(json.dumps(text_field("path", raw)))
    assert exact_bytes(fields, "path") == raw


@given(st.binary(max_size=64))
def test_the_text_is_valid_unicode(raw: bytes) -> None:
    text_field("path", raw)["path"].encode("utf-8")


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        (b"", {"path": ""}),
        (b"/usr/bin/git", {"path": "/usr/bin/git"}),
        ("/käse/\N{SNOWMAN}".encode(), {"path": "/käse/☃"}),
        (b"a\nb\tc\0d\x1b[2J", {"path": "a\nb\tc\0d\x1b[2J"}),
        (b"\xff/x", {"path": "\\xff/x", "path_base64": "/y94"}),
        (b"\xed\xa0\x80", {"path": "\\xed\\xa0\\x80", "path_base64": "7aCA"}),
        (b"\\xff", {"path": "\\xff"}),
    ],
)
def test_valid_utf_8_stays_and_anything_else_is_kept_beside(
    raw: bytes, fields: dict[str, str]
) -> None:
    assert text_field("path", raw) == fields


def test_the_longest_path_is_whole() -> None:
    raw = b"/" + b"\xfe" * 4095
    assert exact_bytes(text_field("path", raw), "path") == raw
