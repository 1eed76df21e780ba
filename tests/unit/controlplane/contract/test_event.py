# SPDX-License-Identifier: Apache-2.0
"""Bytes that some program chose arrive intact, and as text that any JSON parser takes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.contract.event import (
    event_id,
    exact_bytes,
    stored_event_id,
    text_field,
    unnumbered_hash,
)
from tests.unit.controlplane.samples import make_event


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


def test_an_events_id_is_its_boot_workload_and_number() -> None:
    assert event_id(make_event(21)) == "b656d6bf-1613-21"
    assert event_id(make_event(21, boot="short")) == "short-1613-21"


def test_an_event_without_a_number_is_known_by_its_hash() -> None:
    event = make_event(None)
    assert event_id(event) == "b656d6bf-1613-xa4d2c50a7c36"
    assert event_id(dict(reversed(event.items()))) == event_id(event)
    assert event_id(make_event(None, time=1.0)) != event_id(event)
    assert event_id(make_event(None, policy="\0 \ud800 🙂"))


def test_an_id_from_stored_parts_is_the_events_own() -> None:
    event = make_event(None)
    number = unnumbered_hash(event)
    assert 0 <= number < 1 << 60
    assert stored_event_id(event["boot"], 1613, None, number) == event_id(event)
    assert stored_event_id(event["boot"], 1613, None, 0) == "b656d6bf-1613-x000000000000"
    assert stored_event_id(event["boot"], 1613, 5, 0) == "b656d6bf-1613-5"
