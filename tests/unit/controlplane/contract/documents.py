# SPDX-License-Identifier: Apache-2.0
"""Policies for tests: a whole valid one, and the faults of one that is changed at one place."""

from __future__ import annotations

import copy
from typing import Any

from controlplane.contract.policy import Policy, PolicyError, parse_policy_object

_WHOLE: dict[str, Any] = {
    "apiVersion": "lictor/v1",
    "kind": "Policy",
    "metadata": {"name": "rl-sandbox", "description": "coding agent; only the mirrors"},
    "spec": {
        "mode": "enforce",
        "select": [{"cgroup": "/rl.slice/**"}],
        "egress": {
            "allow": [
                {"to": "loopback"},
                {"to": "10.20.0.15/32", "protocol": "tcp", "ports": [443, "8000-8010"]},
            ]
        },
        "ingress": "none",
        "exec": {"allow": ["/usr/**", "/workspace/**"], "deny": ["/usr/bin/ssh"]},
        "devices": {"allow": ["standard"], "gpus": "none"},
        "grants": {"trainer": {"devices": {"gpus": "all"}}},
    },
}


def whole(**sections: object) -> dict[str, Any]:
    """A valid policy's document, with fields of `spec` replaced."""
    document = copy.deepcopy(_WHOLE)
    document["spec"].update(sections)
    return document


def parsed(**sections: object) -> Policy:
    return parse_policy_object(whole(**sections), "test")


def faults(document: object) -> list[tuple[str, str]]:
    """(path, message) of every fault; empty where the document is valid."""
    try:
        parse_policy_object(document, "test")
    except PolicyError as error:
        return [(fault.path, fault.message) for fault in error.faults]
    return []
