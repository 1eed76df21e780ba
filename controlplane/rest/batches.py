# SPDX-License-Identifier: Apache-2.0
"""Batches of events and tool calls, as nodes send them: checked whole before any is stored."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgpack
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from controlplane.contract.event import Attribution
from controlplane.contract.records import API_VERSION, ToolCall
from controlplane.rest.problem import Refusal, invalid

MAXIMUM_EVENTS = 10_000

Integer = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
"""What the database's integers hold; the kernel's counters and ids stay far below."""
Number = Annotated[int, Field(ge=0, lt=1 << 63)]
Name = Annotated[str, Field(min_length=1, max_length=253)]


class _Part(BaseModel):
    """A part of an event: types are exact, and fields of later enforcers are let through."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue]


class CallTag(_Part):
    """`tag.call`: null in any field but number where the announcer gave nothing."""

    number: Number
    id: str | None = None
    episode: str | None = None
    step: Integer | None = None
    tool: str | None = None


class Tag(_Part):
    """`tag` of an event."""

    call: CallTag | None = None


class Subject(_Part):
    """`subject` of an event."""

    pid: Number
    start: Number | None = None
    comm: str = ""


class Event(_Part):
    """An event of schema 1; docs/events.md explains each field."""

    version: Literal[1]
    time: float
    node: Name
    boot: Name
    workload: str
    workload_id: Number
    sequence: Number | None
    kind: Name
    subject: Subject
    object: dict[str, JsonValue]
    decision: Literal["allowed", "denied", "audited"]
    policy: str
    revision: Number
    rule: str | None
    reason: str
    tag: Tag
    attribution: Attribution


class BatchCall(ToolCall):
    """A tool call within a batch: its arguments are what JSON can hold."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    number: Number
    step: Integer | None
    workload: Number
    arguments: JsonValue


class Batch(BaseModel):
    """What a node sends at once. boot: of its kernel now; events of earlier boots may follow late.

    dropped: events of its spool that ever went before they were sent.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    version: Literal[1]
    boot: Name
    events: list[Event] = Field(max_length=MAXIMUM_EVENTS)
    calls: list[BatchCall] = Field(max_length=MAXIMUM_EVENTS)
    dropped: Number = 0


def read_batch(raw: bytes) -> tuple[Batch, list[dict[str, Any]]]:
    """The checked batch, and its events as they were sent. Refusal names what is wrong where."""
    try:
        # A workload chooses file names and arguments: bytes that are no text must not stop the
        # events behind them, so they are shown as `text_field` of the contract does.
        value = msgpack.unpackb(raw, unicode_errors="backslashreplace")
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        text = f"the body is not msgpack of version {API_VERSION}: {error or type(error).__name__}"
        raise Refusal(HTTPStatus.BAD_REQUEST, text) from None
    try:
        batch = Batch.model_validate(value)
    except ValidationError as error:
        raise invalid("batch", error) from None
    return batch, value["events"]
