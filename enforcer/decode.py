# SPDX-License-Identifier: Apache-2.0
"""From a ring record to an event of schema version 1 (controlplane/contract/event.py).

Text from the kernel is whatever bytes a program chose: `text_field` keeps them intact beside
a form that is safe to print.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import time
from typing import Any, Protocol

from controlplane.contract.event import SCHEMA_VERSION, text_field
from enforcer import abi, crossings, gpu
from enforcer.abi import Decision, EventKind, Reason, TagFlag

HEAD = ctypes.sizeof(abi.Event)
FAMILIES = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
PROTOCOLS = {6: "tcp", 17: "udp", 136: "udplite", 262: "mptcp", 1: "icmp", 58: "icmpv6"}
TYPES = {1: "stream", 2: "datagram", 3: "raw", 5: "seqpacket"}
MAPPED = b"\0" * 10 + b"\xff\xff"


class Names(Protocol):
    """What the agent knows beyond the record: names for the kernel's numbers."""

    def policy(self, slot: int) -> str: ...
    def rule(self, slot: int, revision: int, number: int) -> str: ...
    def grants(self, slot: int, bits: int) -> list[str]: ...
    def workload(self, number: int) -> str: ...
    def call(self, number: int, at: float) -> dict[str, Any]: ...


class Decoder:
    """Decodes records of one boot of one node."""

    def __init__(self, node: str, boot: str, boot_time: float, names: Names) -> None:
        self._node = node
        self._boot = boot
        self._boot_time = boot_time
        self._names = names

    def decode(self, record: bytes) -> dict[str, Any]:
        """One event. Raises ValueError for a record of another version or too short."""
        if len(record) < HEAD:
            raise ValueError(f"event record of {len(record)} bytes is shorter than {HEAD}")
        raw = abi.Event.from_buffer_copy(record)
        if raw.version != abi.EVENT_VERSION:
            raise ValueError(f"event record of version {raw.version}, not {abi.EVENT_VERSION}")
        names = self._names
        at = self._boot_time + raw.time / 1e9
        call = names.call(raw.call, at) if raw.call else None
        if call is not None and raw.flags & TagFlag.AFTER:
            call["state"] = "after"
        rule = names.rule(raw.policy, raw.revision, raw.rule) if raw.rule != abi.NO_RULE else None
        subject: dict[str, Any] = {"pid": raw.pid, "tid": raw.tid, "uid": raw.uid}
        subject["parent"] = raw.parent or None
        subject["start"] = raw.start or None
        subject.update(text_field("comm", raw.comm))
        return {
            "version": SCHEMA_VERSION,
            "time": at,
            "node": self._node,
            "boot": self._boot,
            "workload": names.workload(raw.workload),
            "workload_id": raw.workload,
            "sequence": raw.sequence if raw.sequenced else None,
            "kind": EventKind(raw.kind).name.lower(),
            "subject": subject,
            "object": self._object(raw, record),
            "decision": Decision(raw.decision).name.lower(),
            "policy": names.policy(raw.policy),
            "revision": raw.revision,
            "rule": rule,
            "reason": Reason(raw.reason).name.lower(),
            "tag": {
                "cgroup": raw.cgroup,
                "grants": names.grants(raw.policy, raw.grants),
                "escaped": bool(raw.flags & TagFlag.ESCAPED),
                "exempt": bool(raw.flags & TagFlag.EXEMPT),
                "call": call,
            },
            "attribution": "kernel" if call is not None else "none",
        }

    def made_here(
        self, kind: str, workload: int, policy: int, decision: Decision, **fields: Any
    ) -> dict[str, Any]:
        """An event that is the agent's own and no kernel record; fields: subject and object."""
        return {
            "version": SCHEMA_VERSION,
            "time": self._boot_time + time.clock_gettime(time.CLOCK_BOOTTIME),
            "node": self._node,
            "boot": self._boot,
            "workload": self._names.workload(workload),
            "workload_id": workload,
            "sequence": None,
            "kind": kind,
            **fields,
            "decision": decision.name.lower(),
            "policy": self._names.policy(policy),
            "revision": 0,
            "rule": None,
            "reason": Reason.NONE.name.lower(),
            "tag": {
                "cgroup": workload,
                "grants": [],
                "escaped": False,
                "exempt": False,
                "call": None,
            },
            "attribution": "none",
        }

    def _object(self, raw: abi.Event, record: bytes) -> dict[str, Any]:
        match raw.kind:
            case EventKind.CONNECT | EventKind.SEND:
                return _other_end(raw)
            case EventKind.INBOUND:
                return {**_other_end(raw), "local_port": raw.net.local_port}
            case EventKind.SOCKET:
                return {
                    "family": FAMILIES.get(raw.net.family, str(raw.net.family)),
                    "type": TYPES.get(raw.net.type, str(raw.net.type)),
                    "protocol": PROTOCOLS.get(raw.net.protocol, str(raw.net.protocol)),
                }
            case EventKind.EXEC | EventKind.MAPPING:
                path = record[HEAD : HEAD + raw.exec.length]
                if len(path) < raw.exec.length:
                    raise ValueError(f"exec record holds {len(path)} of {raw.exec.length} bytes")
                return {
                    **text_field("path", path),
                    "inode": raw.exec.inode,
                    "device": f"{raw.exec.device >> 20}:{raw.exec.device & 0xFFFFF}",
                }
            case EventKind.UNIX:
                name = record[HEAD : HEAD + raw.peer.length]
                if len(name) < raw.peer.length:
                    raise ValueError(f"unix record holds {len(name)} of {raw.peer.length} bytes")
                return {
                    **text_field("path", name),
                    "type": TYPES.get(raw.peer.type, str(raw.peer.type)),
                    "peer": self._names.workload(raw.peer.workload) if raw.peer.workload else None,
                }
            case EventKind.DEVICE:
                return {
                    "type": "block" if raw.device.block else "char",
                    "major": raw.device.major,
                    "minor": raw.device.minor,
                    "class": gpu.classify(raw.device.major, raw.device.minor)
                    if not raw.device.block
                    else None,
                }
            case EventKind.GUARD:
                return crossings.described(raw.guard)
        return {}


def _other_end(raw: abi.Event) -> dict[str, Any]:
    return {
        "family": FAMILIES.get(raw.net.family, str(raw.net.family)),
        "protocol": PROTOCOLS.get(raw.net.protocol, str(raw.net.protocol)),
        "address": address_text(bytes(raw.net.address)),
        "port": raw.net.port,
    }


def address_text(packed: bytes) -> str:
    """The address as people write it; IPv4 without its mapping."""
    if packed.startswith(MAPPED):
        return str(ipaddress.IPv4Address(packed[12:]))
    return str(ipaddress.IPv6Address(packed))
