# SPDX-License-Identifier: Apache-2.0
"""Events and calls as a node ships them."""

from __future__ import annotations

from typing import Any

from controlplane.contract.records import ToolCall

NODE = "gpu-1"
BOOT = "b656d6bf-4771-49cc-b2d7-4df03e788da6"
OTHER_BOOT = "0d0f4a1e-9e4b-4a5c-8f0e-2a9c5c0f2b11"
WORKLOAD = 1613


def call_tag(number: int = 1, **fields: Any) -> dict[str, Any]:
    """`tag.call` of an event."""
    return {
        "number": number, "id": f"call_{number}", "episode": "rome-0001", "step": 3,
        "tool": "shell", "state": "active", **fields,
    }  # fmt: skip


def make_event(sequence: int | None = 1, **fields: Any) -> dict[str, Any]:
    """An allowed connect of call 1, with some fields changed. call: its tag, or None."""
    call = fields.pop("call", call_tag())
    number = sequence or 0
    return {
        "version": 1, "time": 1_795_433_214.0 + number / 1000, "node": NODE, "boot": BOOT,
        "workload": "/lictor.slice/run-my-policy-1", "workload_id": WORKLOAD,
        "sequence": sequence, "kind": "connect",
        "subject": {"pid": 339, "tid": 339, "uid": 0, "parent": 335, "start": 74425325064,
                    "comm": "python3"},
        "object": {"family": "ipv4", "protocol": "tcp", "address": "10.20.0.15", "port": 80},
        "decision": "allowed", "policy": "my-policy", "revision": 1, "rule": "egress.allow[0]",
        "reason": "rule",
        "tag": {"cgroup": WORKLOAD, "grants": [], "escaped": False, "call": call},
        "attribution": "none" if call is None else "kernel",
        **fields,
    }  # fmt: skip


def make_denied(sequence: int | None = 1, **fields: Any) -> dict[str, Any]:
    """The same, denied."""
    values: dict[str, Any] = {"decision": "denied", "rule": None, "reason": "port", **fields}
    return make_event(sequence, **values)


def make_exec(sequence: int, path: str = "/usr/bin/ls", **fields: Any) -> dict[str, Any]:
    """An exec."""
    what = {"path": path, "inode": 7745, "device": "254:0"}
    return make_event(sequence, **{"kind": "exec", "object": what, **fields})


def make_call(number: int = 1, **fields: Any) -> ToolCall:
    """The record of a call."""
    values: dict[str, Any] = {
        "node": NODE, "boot": BOOT, "number": number, "id": f"call_{number}",
        "episode": "rome-0001", "step": 3, "tool": "shell", "arguments": {"cmd": "ls"},
        "workload": WORKLOAD, "binding": "target:42", "started": 1_795_433_210.0,
        "ended": None, "ending": None, **fields,
    }  # fmt: skip
    return ToolCall(**values)
