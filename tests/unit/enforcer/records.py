# SPDX-License-Identifier: Apache-2.0
"""Ring records as the kernel programs write them, and names for their numbers."""

from __future__ import annotations

import ipaddress
from typing import Any

from enforcer import abi
from enforcer.abi import Decision, Reason

WORKLOAD = 4711


class KnownNames:
    """Names made from the numbers themselves."""

    def policy(self, slot: int) -> str:
        return f"policy-{slot}"

    def rule(self, slot: int, revision: int, number: int) -> str:
        return f"rules[{slot}][{revision}][{number}]"

    def grants(self, slot: int, bits: int) -> list[str]:
        return [f"grant-{bit}" for bit in range(1, 32) if bits >> bit & 1]

    def workload(self, number: int) -> str:
        return f"/rl.slice/{number}"

    def call(self, number: int, at: float) -> dict[str, Any]:
        return {"number": number, "id": f"call-{number}", "state": "active"}


def record(kind: int, *, path: bytes | None = None, peer: int = 0, **fields: Any) -> bytes:
    """One record; `path` follows an exec's head, with its NUL, and is a unix event's name."""
    values: dict[str, Any] = {
        "version": abi.EVENT_VERSION, "kind": kind, "decision": Decision.DENIED,
        "reason": Reason.NOT_ALLOWED, "sequenced": 1, "rule": abi.NO_RULE,
        "time": 5_000_000_000, "sequence": 12, "workload": WORKLOAD, "cgroup": 4712,
        "start": 3_000_000_000, "policy": 3, "revision": 8, "grants": 1, "pid": 100, "tid": 101,
        "uid": 1000, "parent": 99, "comm": b"python3", **fields,
    }  # fmt: skip
    event = abi.Event(**values)
    if kind == abi.EventKind.UNIX:
        name = path or b""
        event.peer = abi.EventPeer(workload=peer, type=1, length=len(name))
        return bytes(event) + name.ljust(abi.UNIX_NAME_SIZE, b"\0")
    if path is None:
        return bytes(event)
    event.exec = abi.EventExec(inode=55, device=(8 << 20) | 1, length=len(path))
    return bytes(event) + path + b"\0"


def net(address: str, port: int, *, protocol: int = 6, family: int = 2) -> abi.EventNet:
    """An address as the programs write it: 16 bytes, IPv4 mapped."""
    parsed = ipaddress.ip_address(address)
    packed = parsed.packed if parsed.version == 6 else b"\0" * 10 + b"\xff\xff" + parsed.packed
    found = abi.EventNet(port=port, family=family, type=1, protocol=protocol)
    found.address[:] = list(packed)
    return found
