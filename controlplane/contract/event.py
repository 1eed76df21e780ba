# SPDX-License-Identifier: Apache-2.0
"""Events, schema version 1: one kernel fact each, as a flat mapping that goes over the wire.

Fields: time (unix seconds), node, boot, workload (cgroup path), workload_id, sequence (counted
per workload from 1 by the kernel; null if the workload found no room for counts), kind,
subject (pid, tid, uid, parent, start, comm), object (by kind), decision, policy, revision, rule
(the field path that decided, or null), reason, tag (cgroup, grants, escaped, call), attribution.
docs/events.md shows one of each kind.
"""

from __future__ import annotations

import base64
from typing import Literal

SCHEMA_VERSION = 1

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
