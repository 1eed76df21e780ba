# SPDX-License-Identifier: Apache-2.0
"""What was attempted is told on one line, whatever a program put into its names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.correlate import acts
from tests.unit.controlplane.samples import make_denied

IPV6 = {"family": "ipv6", "protocol": "tcp", "address": "2001:db8::1", "port": 22}
UDP = {"family": "ipv4", "protocol": "udp", "address": "198.51.100.30", "port": 53}
PACKET = {"family": "17", "type": "raw", "protocol": "0"}
PING = {"family": "ipv4", "type": "datagram", "protocol": "icmp"}
GPU = {"type": "char", "major": 195, "minor": 0, "class": "nvidia"}
DISK = {"type": "block", "major": 259, "minor": 1, "class": None}

SIGNAL = {"guard": "signal", "operation": "signal", "detail": "SIGKILL", "target": 7}
MOUNT = {"guard": "mount", "operation": "mount", "detail": None, "target": None}


@pytest.mark.parametrize(
    ("kind", "what", "target", "lead"),
    [
        ("connect", IPV6, "[2001:db8::1]:22", "connect to [2001:db8::1]:22"),
        ("send", UDP, "198.51.100.30:53/udp", "send to 198.51.100.30:53/udp"),
        ("socket", PACKET, "packet socket (raw)", "packet socket (raw)"),
        ("socket", PING, "ipv4 socket (datagram)", "ipv4 socket (datagram)"),
        ("exec", {"path": "/usr/bin/ssh"}, "/usr/bin/ssh", "exec of /usr/bin/ssh"),
        ("mapping", {"path": "/x.so"}, "/x.so", "executable mapping of /x.so"),
        ("device", GPU, "GPU 195:0", "open of GPU 195:0"),
        ("device", DISK, "block device 259:1", "open of block device 259:1"),
        ("unix", {"path": "@bus"}, "@bus", "reach for unix socket @bus"),
        (
            "guard",
            SIGNAL,
            "signal SIGKILL of process 7",
            "signal SIGKILL of process 7 (signal guard)",
        ),
        ("guard", MOUNT, "mount", "mount (mount guard)"),
        ("escape", {}, "out of the workload's cgroup", "process left its workload's cgroup"),
        ("exempt", {"reason": "why"}, "why", "workload exempted: why"),
        ("exempt_end", {"reason": "why"}, "why", "exemption ended: why"),
        ("fork", {}, "fork", "fork"),
        ("exec", {}, "None", "exec of None"),
    ],
)
def test_targets_and_titles_name_what_was_attempted(
    kind: str, what: dict[str, Any], target: str, lead: str
) -> None:
    event = make_denied(kind=kind, object=what)
    assert (acts.target(event), acts.lead(event)) == (target, lead)


def test_a_rule_or_else_the_reason_says_what_decided() -> None:
    assert acts.rule(make_denied(rule="exec.deny[0]")) == "my-policy#1: exec.deny[0]"
    assert acts.rule(make_denied(reason="not_allowed")) == "my-policy#1: not_allowed"


def test_a_subject_is_the_process_as_the_host_sees_it() -> None:
    assert acts.subject(make_denied()) == "python3 (pid 339, uid 0)"
    assert acts.subject(make_denied(subject={"pid": 5})) == "? (pid 5, uid ?)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/usr/bin/Grüße 🙂", "/usr/bin/Grüße 🙂"),
        ("a\nb\x1b[31m\0", "a\\nb\\x1b[31m\\x00"),
        ("\u202egnp.exe\u2028", "\\u202egnp.exe\\u2028"),
        ("\udcff", "\\udcff"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
    ],
)
def test_text_looks_like_what_it_is(text: str, shown: str) -> None:
    assert acts.visible(text) == shown


@settings(deadline=None)
@given(st.text(st.characters()))
def test_no_text_breaks_out_of_its_line(text: str) -> None:
    shown = acts.visible(text)
    assert shown.isprintable()
    assert len(shown) <= acts.TEXT_LIMIT
    shown.encode("utf-8")
