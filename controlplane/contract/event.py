# SPDX-License-Identifier: Apache-2.0
"""Events, schema version 1: one kernel fact each, as a flat mapping that goes over the wire.

Fields: time (unix seconds), node, boot, workload (cgroup path), workload_id, sequence (counted
per workload from 1 by the kernel; null if the workload found no room for counts), kind,
subject (pid, tid, uid, parent, start, comm), object (by kind), decision, policy, revision, rule
(the field path that decided, or null), reason, tag (cgroup, grants, escaped, exempt, call),
attribution.
docs/events.md shows one of each kind.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

SCHEMA_VERSION = 1

AGENT_KINDS = frozenset({"exempt", "exempt_end"})
"""What the agent itself tells: the kernel neither counts nor numbers these."""

Attribution = Literal["kernel", "entry", "window", "none"]


def text_field(name: str, raw: bytes) -> dict[str, str]:
    """Bytes that some program chose, as text and, where text cannot hold them, intact.

    Valid UTF-8 is given as it is, newlines and controls included (JSON escapes them). Else
    `name` has each odd byte as \\xNN, and `name_base64` the exact bytes: lone surrogates would
    break other languages' JSON parsers.
    """
    try:
        return {name: raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {
            name: raw.decode("utf-8", "backslashreplace"),
            f"{name}_base64": base64.b64encode(raw).decode("ascii"),
        }


def exact_bytes(fields: dict[str, str], name: str) -> bytes:
    """The bytes that `text_field` was given."""
    if encoded := fields.get(f"{name}_base64"):
        return base64.b64decode(encoded)
    return fields[name].encode("utf-8")


UNNUMBERED_DIGITS = 15
"""Hex digits of the hash that tell events without a sequence apart; the id shows twelve."""


def event_id(event: Mapping[str, Any]) -> str:
    """What people and tools call an event: `<boot>-<workload>-<sequence>`.

    The boot is given by its first eight characters. An event without a sequence has `x` and
    twelve hex digits of its own hash instead.
    """
    return stored_event_id(
        event["boot"],
        event["workload_id"],
        event["sequence"],
        unnumbered_hash(event) if event["sequence"] is None else 0,
    )


def stored_event_id(boot: str, workload_id: int, sequence: int | None, number: int) -> str:
    """The id from its parts; number: `unnumbered_hash`, used where there is no sequence."""
    tail = f"x{number:0{UNNUMBERED_DIGITS}x}"[:13] if sequence is None else str(sequence)
    return f"{boot[:8]}-{workload_id}-{tail}"


def unnumbered_hash(event: Mapping[str, Any]) -> int:
    """A number of 60 bits from all that an event says: the same for the same event.

    Raises ValueError or TypeError if the event is more than JSON can say.
    """
    text = json.dumps(event, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode("ascii")).hexdigest()
    return int(digest[:UNNUMBERED_DIGITS], 16)
