# SPDX-License-Identifier: Apache-2.0
"""Which incident an event belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from controlplane.contract.records import IncidentClass

CLASSES: dict[str, IncidentClass] = {
    "connect": "egress",
    "send": "egress",
    "socket": "egress",
    "inbound": "ingress",
    "exec": "exec",
    "mapping": "exec",
    "device": "device",
    "unix": "unix",
    "guard": "guard",
    "escape": "escape",
    "exempt": "exempt",
}

# Acts of guards that ps, ss and the kernel itself make, and that mean little alone.
BY_THE_WAY = frozenset({"read", "module_request"})


@dataclass(frozen=True, slots=True)
class IncidentKey:
    """One call (or, where none is known, one process) and one class of act.

    The episode is no part: a call's number means one call in a boot, and its episode may become
    known later than its number. pid and start are None where a call is known.
    """

    node: str
    boot: str
    workload_id: int
    call: int | None
    pid: int | None
    start: int | None
    kind: IncidentClass

    def incident_id(self) -> str:
        """The same for the same key, so that an event finds its incident without asking."""
        text = repr(astuple(self)).encode("utf-8", "surrogatepass")
        return hashlib.sha256(text).hexdigest()[:20]


def incident_key(event: Mapping[str, Any]) -> IncidentKey:
    """The key of an event of schema 1."""
    call = event["tag"]["call"] if event["tag"].get("call") else None
    subject = event["subject"]
    return IncidentKey(
        node=event["node"],
        boot=event["boot"],
        workload_id=event["workload_id"],
        call=call["number"] if call else None,
        pid=None if call else subject["pid"],
        start=None if call else subject.get("start"),
        kind=_class(event),
    )


def _class(event: Mapping[str, Any]) -> IncidentClass:
    if event["kind"] == "guard" and event["object"].get("operation") in BY_THE_WAY:
        return "other"
    return CLASSES.get(event["kind"], "other")
