# SPDX-License-Identifier: Apache-2.0
"""What nodes and operators send, in small."""

from __future__ import annotations

from typing import Any

import msgpack

NODE = "node-1"
BOOT = "b656d6bf-4771-49cc-b2d7-4df03e788da6"
POLICY = """\
apiVersion: lictor/v1
kind: Policy
metadata:
  name: {name}
spec:
  mode: audit
  select: [{{cgroup: /{name}.slice/**}}]
  egress: {{allow: [{{to: 10.0.0.0/8, ports: [{port}]}}]}}
"""


def policy(name: str = "rl", port: int = 443) -> str:
    """A valid policy; another port makes it another text."""
    return POLICY.format(name=name, port=port)


def report(**fields: Any) -> dict[str, Any]:
    """A NodeReport."""
    return {"boot": BOOT, "version": "0.1.0", "enforcing": True, "mode": "lsm", **fields}


def workload(**fields: Any) -> dict[str, Any]:
    """A WorkloadReport."""
    return {"id": 1613, "path": "/rl.slice/one", "policy": "rl", "covered": True, **fields}


def event(sequence: int | None = 1, **fields: Any) -> dict[str, Any]:
    """A denied connect of call_1."""
    return {
        "version": 1,
        "time": 1795433214.25 + (sequence or 0),
        "node": NODE,
        "boot": BOOT,
        "workload": "/rl.slice/one",
        "workload_id": 1613,
        "sequence": sequence,
        "kind": "connect",
        "subject": {
            "pid": 339, "tid": 339, "uid": 0, "parent": 335, "start": 74425325064, "comm": "curl",
        },
        "object": {"family": "ipv4", "protocol": "tcp", "address": "198.51.100.7", "port": 22},
        "decision": "denied",
        "policy": "rl",
        "revision": 1,
        "rule": None,
        "reason": "no_rule",
        "tag": {
            "cgroup": 1613,
            "grants": [],
            "escaped": False,
            "call": {
                "number": 1, "id": "call_1", "episode": "ep-1", "step": 3, "tool": "shell",
                "state": "active",
            },
        },
        "attribution": "kernel",
        **fields,
    }  # fmt: skip


def call(**fields: Any) -> dict[str, Any]:
    """The ToolCall of those events."""
    return {
        "node": NODE,
        "boot": BOOT,
        "number": 1,
        "id": "call_1",
        "episode": "ep-1",
        "step": 3,
        "tool": "shell",
        "arguments": {"command": "curl 198.51.100.7:22"},
        "workload": 1613,
        "binding": "thread",
        "started": 1795433214.0,
        "ended": None,
        "ending": None,
        **fields,
    }


def batch(*events: Any, calls: tuple[Any, ...] = (), **fields: Any) -> bytes:
    """A batch as it goes over the wire."""
    value = {
        "version": 1, "boot": BOOT, "events": list(events), "calls": list(calls), "dropped": 0,
        **fields,
    }  # fmt: skip
    packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return packed
