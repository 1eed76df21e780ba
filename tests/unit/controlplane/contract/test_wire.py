# SPDX-License-Identifier: Apache-2.0
"""Frames come out as they went in however the stream is cut; anything else is a FrameError."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.contract.wire import (
    MAXIMUM_FRAME,
    FrameError,
    FrameReader,
    encode,
    failure,
    success,
)

MESSAGES: list[dict[str, Any]] = [
    {"version": 1, "operation": "begin", "id": "call-1", "target": 4242},
    {},
    {"version": 1, "arguments": {"deep": [1, None, True, 2.5, b"\0\xff", "käse\n"]}},
]

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.binary()
    | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)  # fmt: skip


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=8), PLAIN, max_size=4), max_size=3), st.data())
def test_messages_come_out_however_the_stream_is_cut(
    messages: list[dict[str, Any]], data: st.DataObject
) -> None:
    stream = b"".join(encode(message) for message in messages)
    reader = FrameReader()
    found: list[dict[str, Any]] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert found == messages


def test_a_stream_may_be_cut_at_every_byte() -> None:
    stream = b"".join(map(encode, MESSAGES))
    for cut in range(len(stream) + 1):
        reader = FrameReader()
        assert [*reader.feed(stream[:cut]), *reader.feed(stream[cut:])] == MESSAGES
    reader = FrameReader()
    one_by_one = [m for n in range(len(stream)) for m in reader.feed(stream[n : n + 1])]
    assert one_by_one == MESSAGES


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"", "is not msgpack"),
        (b"\xc1", "is not msgpack"),
        (b"\x82\xa1a", "is not msgpack"),
        (b"\x80\x80", "is not msgpack"),
        (b"\xd9\xff", "is not msgpack"),
        (b"\xdd\xff\xff\xff\xff", "is not msgpack"),
        (b"\xdf\xff\xff\xff\xff", "is not msgpack"),
        (b"\x91" * 100_000, "is not msgpack"),
        (b"\x81\xa1a" * 100_000, "is not msgpack"),
        (b"\x81\x91\x01\x02", "is not msgpack"),
        (b"\xc7\x00\xff", "is not msgpack"),
        (b"\x93\x01\x02\x03", "is not a mapping"),
        (b"\xc0", "is not a mapping"),
        (b"\x81\xc4\x01a\x01", "text keys"),
    ],
)
def test_what_is_no_message_is_a_frame_error(body: bytes, cause: str) -> None:
    with pytest.raises(FrameError, match=cause):
        list(FrameReader().feed(_frame(body)))


def test_a_number_as_key_is_no_message() -> None:
    with pytest.raises(FrameError, match="a frame is not"):
        list(FrameReader().feed(_frame(msgpack.packb({1: 2}))))


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    try:
        for message in FrameReader().feed(_frame(body)):
            assert isinstance(message, dict)
    except FrameError:
        pass


@pytest.mark.parametrize("length", [MAXIMUM_FRAME + 1, 0xFFFFFFFF])
def test_a_frame_over_the_limit_is_refused_by_its_first_bytes(length: int) -> None:
    with pytest.raises(FrameError, match=f"a frame of {length} bytes is over the limit of 1048576"):
        list(FrameReader().feed(length.to_bytes(4, "big")))


def test_the_largest_frame_passes_and_one_more_byte_does_not() -> None:
    room = MAXIMUM_FRAME - len(encode({"a": b"x" * 70_000})) + 4 + 70_000
    [message] = FrameReader().feed(encode({"a": b"x" * room}))
    assert len(message["a"]) == room
    with pytest.raises(FrameError, match="over the limit"):
        encode({"a": b"x" * (room + 1)})


def test_messages_before_a_bad_frame_are_given() -> None:
    reader = FrameReader()
    stream = reader.feed(encode(MESSAGES[0]) + _frame(b"\xc1"))
    assert next(stream) == MESSAGES[0]
    with pytest.raises(FrameError):
        next(stream)


def test_undecodable_arguments_travel_as_they_came() -> None:
    argument = b"\xff\xfe name".decode("utf-8", "surrogateescape")
    [message] = FrameReader().feed(encode({"id": argument}))
    assert message["id"].encode("utf-8", "surrogateescape") == b"\xff\xfe name"


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [1 << 64, -(1 << 63) - 1, "\ud800", object(), _nested(5000)],
    ids=["large", "small", "surrogate", "object", "nested"],
)
def test_what_cannot_be_sent_is_a_frame_error(value: Any) -> None:
    with pytest.raises(FrameError, match="a message cannot be sent"):
        encode({"value": value})


def test_numbers_of_every_kind_travel() -> None:
    numbers = [0, -1, (1 << 64) - 1, -(1 << 63), 0.1, math.inf]
    [message] = FrameReader().feed(encode({"numbers": numbers}))
    assert message["numbers"] == numbers


def test_replies_say_whether_they_carry_a_result() -> None:
    assert success(call=3) == {"version": 1, "ok": True, "call": 3}
    assert failure("busy", "too many") == {
        "version": 1, "ok": False, "error": {"code": "busy", "message": "too many"},
    }  # fmt: skip
