# SPDX-License-Identifier: Apache-2.0
"""Frames on the enforcer's sockets: 4 bytes of length, big-endian, then one msgpack mapping.

A request has `version`, `operation` and the operation's fields; a reply has `version`, `ok` and
either the result's fields or `error` {code, message}. docs/tool-calls.md lists the operations.
sans-IO: `FrameReader` takes bytes and gives mappings.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgpack

PROTOCOL_VERSION = 1
MAXIMUM_FRAME = 1 << 20
_LENGTH = struct.Struct(">I")


class FrameError(ValueError):
    """Bytes that are no frame; the connection cannot go on."""


class RequestError(Exception):
    """A request that is refused: `code` for programs, str for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def encode(message: dict[str, Any]) -> bytes:
    """One frame. Text with lone surrogates (undecodable arguments) travels as it came."""
    try:
        body: bytes = msgpack.packb(message, use_bin_type=True, unicode_errors="surrogateescape")
    except (ValueError, TypeError, OverflowError) as error:
        raise FrameError(f"a message cannot be sent: {error}") from None
    if len(body) > MAXIMUM_FRAME:
        raise FrameError(f"a frame of {len(body)} bytes is over the limit of {MAXIMUM_FRAME}")
    return _LENGTH.pack(len(body)) + body


def success(**result: Any) -> dict[str, Any]:
    """A reply that carries a result."""
    return {"version": PROTOCOL_VERSION, "ok": True, **result}


def failure(code: str, message: str) -> dict[str, Any]:
    """A reply that refuses."""
    error = {"code": code, "message": message}
    return {"version": PROTOCOL_VERSION, "ok": False, "error": error}


class FrameReader:
    """Splits a byte stream into mappings."""

    def __init__(self, limit: int = MAXIMUM_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Take bytes, give every whole mapping. Raises FrameError on anything else."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > self._limit:
                raise FrameError(f"a frame of {length} bytes is over the limit of {self._limit}")
            if len(self._buffer) < _LENGTH.size + length:
                return
            body = bytes(self._buffer[_LENGTH.size : _LENGTH.size + length])
            del self._buffer[: _LENGTH.size + length]
            yield _mapping(body)


def _mapping(body: bytes) -> dict[str, Any]:
    try:
        message = msgpack.unpackb(body, raw=False, unicode_errors="surrogateescape")
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise FrameError(f"a frame is not msgpack: {error}") from None
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise FrameError("a frame is not a mapping with text keys")
    return message
