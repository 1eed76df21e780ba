# SPDX-License-Identifier: Apache-2.0
"""The nearest rule is the one that a person would look at, with what kept it from matching."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.explain_attempt import attempt_of
from controlplane.explain_nearest import Nearest, nearest
from tests.unit.controlplane.contract.documents import parsed
from tests.unit.controlplane.events import connect, execution, opening, raw_socket, reaching

UUID = "GPU-00000000-0000-0000-0000-000000000001"


def found(made: dict[str, Any], *grants: str, **sections: Any) -> Nearest | None:
    return nearest(parsed(**sections), attempt_of(made), grants, None)


@pytest.mark.parametrize(
    ("made", "rule", "why"),
    [
        (
            connect("10.20.0.15", 22, reason="port"),
            "egress.allow[1]",
            "address and protocol match, port 22 is not in 443, 8000-8010",
        ),
        (
            connect("10.20.0.15", 443, "udp", reason="port"),
            "egress.allow[1]",
            "address and port match, protocol udp is not tcp",
        ),
        (
            connect("10.20.0.15", 53, "udp", reason="port"),
            "egress.allow[1]",
            "address matches, protocol udp is not tcp, port 53 is not in 443, 8000-8010",
        ),
        (
            connect("10.20.0.16", 443),
            "egress.allow[1]",
            "protocol and port match, 10.20.0.16 is not in 10.20.0.15/32",
        ),
        (
            connect("2001:db8::1", 53, "udp"),
            "egress.allow[2]",
            "protocol and port match, 2001:db8::1 is not in 2001:db8:1::/48",
        ),
        (
            connect("127.0.0.1", 80),
            "egress.allow[0]",
            "holds only in a network namespace of the workload's own; this one has the host's",
        ),
    ],
)
def test_of_addresses(made: dict[str, Any], rule: str, why: str) -> None:
    rules = [
        {"to": "loopback"},
        {"to": "10.20.0.15", "protocol": "tcp", "ports": [443, "8000-8010"]},
        {"to": "2001:db8:1::/48"},
    ]
    assert found(made, egress={"allow": rules}) == Nearest(rule, why)


def test_of_another_ip_version_says_so() -> None:
    made = connect("2001:db8::1", 443)
    near = found(made, egress={"allow": [{"to": "10.0.0.0/8"}]})
    assert near is not None
    assert near.why.endswith("2001:db8::1 is IPv6, 10.0.0.0/8 is not")


@pytest.mark.parametrize(
    ("path", "rule", "why"),
    [
        (
            "/usr/bin/ssh",
            "exec.allow[0]",
            "matches too, but exec.deny[0] names more of the path, and the longest decides",
        ),
        (
            "/opt/tools/bin/x",
            "exec.allow[2]",
            "allows what is below /opt/tools/lib; the two have /opt/tools in common",
        ),
        (
            "/opt/other",
            "exec.allow[2]",
            "allows what is below /opt/tools/lib; the two have /opt in common",
        ),
        ("/home/a/x", "exec.allow[3]", "allows only /home/a/run; the two have /home/a in common"),
    ],
)
def test_of_paths(path: str, rule: str, why: str) -> None:
    rules = {
        "allow": ["/usr/**", "/workspace/**", "/opt/tools/lib/**", "/home/a/run"],
        "deny": ["/usr/bin/ssh"],
    }
    assert found(execution(path), exec=rules) == Nearest(rule, why)


@pytest.mark.parametrize(
    ("made", "sections"),
    [
        (execution("/tmp/x"), {}),
        (execution("/usr/x"), {"exec": "none"}),
        (connect("10.0.0.1", 1), {"egress": "none"}),
        (opening(10, 229), {}),
        (opening(195, 0, "nvidia"), {"devices": "none"}),
        (raw_socket(), {}),
    ],
)
def test_where_nothing_comes_near_there_is_none(
    made: dict[str, Any], sections: dict[str, Any]
) -> None:
    assert found(made, **{"grants": {}, **sections}) is None


def test_of_devices() -> None:
    devices = {"allow": ["standard", {"block": "10:1"}, {"char": "10:200"}], "gpus": [1]}
    sections: dict[str, Any] = {"devices": devices, "grants": {}}
    why = "allows char 10:200, and this is char 10:229"
    assert found(opening(10, 229), **sections) == Nearest("devices.allow[2]", why)
    why = "is 1; 195:0 is a GPU's and not among them"
    assert found(opening(195, 0, "nvidia"), **sections) == Nearest("devices.gpus", why)
    none = found(opening(195, 0, "nvidia"), grants={})
    assert none == Nearest("devices.gpus", "is none; 195:0 is a GPU's and not among them")


def test_of_unix_sockets() -> None:
    unix = {"allow": ["/run/nscd/**", "/run/docker.sock", "@bus"]}
    assert found(reaching("/run/nscdx"), unix=unix) == Nearest(
        "unix.allow[0]", "allows /run/nscd/** and no other"
    )
    assert found(reaching("/srv/x"), unix=unix) is None
    assert found(reaching("@bus2"), unix=unix) is None
    assert found(reaching("/run/nscdx"), unix="none") is None


def test_a_grant_that_was_not_held_is_nearest() -> None:
    made = opening(195, 0, "nvidia")
    why = "allows it to processes with the grant trainer; this one had it not"
    assert found(made) == Nearest("grants.trainer.devices.gpus", why)


def test_the_rules_of_a_held_grant_count() -> None:
    grants = {"tools": {"egress": {"allow": [{"to": "10.30.0.1", "ports": [80]}]}}}
    made = connect("10.30.0.1", 22)
    near = found(made, "tools", grants=grants)
    assert near is not None
    assert near.rule == "grants.tools.egress.allow[0]"
    assert found(made, grants=grants) != near
