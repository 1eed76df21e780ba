# SPDX-License-Identifier: Apache-2.0
"""An event as a row: checked, so that what is stored can be queried and given back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from controlplane.contract.event import SCHEMA_VERSION, unnumbered_hash
from controlplane.correlate.key import incident_key
from controlplane.storage.fields import LARGEST_INTEGER, Fields
from controlplane.storage.plain import plain_json

DECISIONS = ("allowed", "denied", "audited")


@dataclass(frozen=True, slots=True)
class Source:
    """Where an event's sequence number counts."""

    node: str
    boot: str
    workload_id: int


@dataclass(slots=True)
class EventRow:
    """event: as JSON can say it; workload: the cgroup's path.

    columns: of the table, but for `stream` and `received`.
    """

    event: dict[str, Any]
    source: Source
    workload: str
    columns: dict[str, Any]


def event_row(event: Any, place: str) -> EventRow:
    """An event as it is stored. place: what a fault is named by. Raises IngestError."""
    event, body = plain_json(event)
    fields = Fields(event, place)
    fields.require("version", SCHEMA_VERSION)
    fields.fields("object")
    subject = fields.fields("subject")
    call = fields.fields("tag").optional_fields("call")
    number = call_id = episode = None
    if call is not None:
        number, call_id = call.integer("number"), call.optional_text("id")
        episode = call.optional_text("episode")
        call.optional_text("tool")
        call.optional_integer("step", -LARGEST_INTEGER)
    source = Source(fields.text("node"), fields.text("boot"), fields.integer("workload_id"))
    sequence = fields.optional_integer("sequence", 1)
    if sequence is None:
        # Its id is made from all that it says: from the stored form, so that it stays the same.
        event = json.loads(body)
    columns = {
        "key": key_of_hash(unnumbered_hash(event)) if sequence is None else sequence,
        "time": fields.time("time"),
        "kind": fields.text("kind"),
        "decision": fields.one_of("decision", DECISIONS),
        "policy": fields.text("policy"),
        "revision": fields.integer("revision"),
        "rule": fields.optional_text("rule"),
        "reason": fields.text("reason"),
        "attribution": fields.text("attribution"),
        "call_number": number,
        "call": call_id,
        "episode": episode,
        "pid": subject.integer("pid"),
        "start": subject.optional_integer("start"),
        "incident": None,
        "body": body,
    }
    if columns["decision"] != "allowed":
        columns["incident"] = incident_key(event).incident_id()
    return EventRow(event, source, fields.text("workload"), columns)


def key_of_hash(number: int) -> int:
    """What stands in for the sequence of an event that has none: always below zero."""
    return -1 - number
