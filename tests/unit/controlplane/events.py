# SPDX-License-Identifier: Apache-2.0
"""Events of schema 1 for tests, each changed at the fields that matter there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controlplane.contract.event import text_field

BOOT = "b656d6bf-4771-49cc-b2d7-4df03e788da6"


def event(
    kind: str,
    what: dict[str, Any],
    *,
    reason: str = "not_allowed",
    decision: str = "denied",
    rule: str | None = None,
    grants: Sequence[str] = (),
    **fields: Any,
) -> dict[str, Any]:
    return {
        "version": 1, "time": 1795433214.25, "node": "node", "boot": BOOT,
        "workload": "/rl.slice/a", "workload_id": 1613, "sequence": 21, "kind": kind,
        "subject": {"pid": 339, "tid": 339, "uid": 0, "parent": 335, "start": 7, "comm": "python3"},
        "object": what, "decision": decision, "policy": "rl-sandbox", "revision": 1, "rule": rule,
        "reason": reason, "tag": {"cgroup": 1613, "grants": list(grants), "escaped": False,
                                  "call": None},
        "attribution": "none", **fields,
    }  # fmt: skip


def connect(address: str, port: int, protocol: str = "tcp", **fields: Any) -> dict[str, Any]:
    family = "ipv6" if ":" in address else "ipv4"
    what = {"family": family, "protocol": protocol, "address": address, "port": port}
    return event(fields.pop("kind", "connect"), what, **fields)


def execution(path: str | bytes, **fields: Any) -> dict[str, Any]:
    raw = path.encode() if isinstance(path, str) else path
    return event("exec", {**text_field("path", raw), "inode": 1, "device": "254:0"}, **fields)


def mapping(path: str | bytes, **fields: Any) -> dict[str, Any]:
    return {**execution(path, **fields), "kind": "mapping"}


def opening(
    major: int, minor: int, driver: str | None = None, type_: str = "char", **fields: Any
) -> dict[str, Any]:
    what = {"type": type_, "major": major, "minor": minor, "class": driver}
    return event("device", what, **fields)


def reaching(name: str | bytes, **fields: Any) -> dict[str, Any]:
    raw = name.encode() if isinstance(name, str) else name
    return event("unix", {**text_field("path", raw), "type": "stream", "peer": None}, **fields)


def raw_socket(**fields: Any) -> dict[str, Any]:
    what = {"family": "17", "type": "raw", "protocol": "0"}
    return event("socket", what, **{"reason": "family", **fields})


def crossing(guard: str, operation: str, **fields: Any) -> dict[str, Any]:
    what = {"guard": guard, "operation": operation, "detail": None, "target": None}
    return event("guard", what, **{"reason": "guard", **fields})
