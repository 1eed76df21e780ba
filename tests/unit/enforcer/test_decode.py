# SPDX-License-Identifier: Apache-2.0
"""A ring record becomes the event that it is, whatever bytes a program put into it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from controlplane.contract.event import SCHEMA_VERSION, exact_bytes
from enforcer import abi
from enforcer.abi import Decision, EventKind, Guard, Operation, Reason, TagFlag
from enforcer.decode import HEAD, Decoder
from tests.unit.enforcer.records import WORKLOAD, KnownNames, net, record

DECODER = Decoder("node-1", "boot-1", 1_000_000.0, KnownNames())


def decoded(kind: EventKind, **fields: Any) -> dict[str, Any]:
    return DECODER.decode(record(kind, **fields))


def test_an_event_says_who_where_what_and_why() -> None:
    event = decoded(EventKind.CONNECT, net=net("10.1.2.3", 443), rule=4, grants=0b111)
    assert event == {
        "version": SCHEMA_VERSION, "time": 1_000_005.0, "node": "node-1", "boot": "boot-1",
        "workload": f"/rl.slice/{WORKLOAD}", "workload_id": WORKLOAD, "sequence": 12,
        "kind": "connect",
        "subject": {"pid": 100, "tid": 101, "uid": 1000, "parent": 99, "start": 3_000_000_000,
                    "comm": "python3"},
        "object": {"family": "ipv4", "protocol": "tcp", "address": "10.1.2.3", "port": 443},
        "decision": "denied", "policy": "policy-3", "revision": 8, "rule": "rules[3][8][4]",
        "reason": "not_allowed",
        "tag": {"cgroup": 4712, "grants": ["grant-1", "grant-2"], "escaped": False,
                "exempt": False, "call": None},
        "attribution": "none",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "fields", "found"),
    [
        (EventKind.CONNECT, {"net": net("::ffff:192.0.2.1", 80)},
         {"family": "ipv4", "protocol": "tcp", "address": "192.0.2.1", "port": 80}),
        (EventKind.CONNECT, {"net": net("2001:db8::1", 65535, family=10, protocol=262)},
         {"family": "ipv6", "protocol": "mptcp", "address": "2001:db8::1", "port": 65535}),
        (EventKind.SEND, {"net": net("::", 53, family=10, protocol=17)},
         {"family": "ipv6", "protocol": "udp", "address": "::", "port": 53}),
        (EventKind.SEND, {"net": net("10.0.0.1", 0, family=77, protocol=999)},
         {"family": "77", "protocol": "999", "address": "10.0.0.1", "port": 0}),
        (EventKind.SOCKET, {"net": abi.EventNet(family=2, type=3, protocol=1)},
         {"family": "ipv4", "type": "raw", "protocol": "icmp"}),
        (EventKind.SOCKET, {"net": abi.EventNet(family=40, type=9, protocol=0)},
         {"family": "40", "type": "9", "protocol": "0"}),
        (EventKind.DEVICE, {"device": abi.EventDevice(0, 195, 1)},
         {"type": "char", "major": 195, "minor": 1, "class": "nvidia"}),
        (EventKind.DEVICE, {"device": abi.EventDevice(1, 8, 0)},
         {"type": "block", "major": 8, "minor": 0, "class": None}),
        (EventKind.EXEC, {"path": b"/usr/bin/git"},
         {"path": "/usr/bin/git", "inode": 55, "device": "8:1"}),
        (EventKind.EXEC, {"path": b""}, {"path": "", "inode": 55, "device": "8:1"}),
        (EventKind.UNIX, {"path": b"/run/docker.sock"},
         {"path": "/run/docker.sock", "type": "stream", "peer": None}),
        (EventKind.UNIX, {"path": b"@\xff", "peer": 9},
         {"path": "@\\xff", "path_base64": "QP8=", "type": "stream", "peer": "/rl.slice/9"}),
        (EventKind.GUARD, {"guard": abi.EventGuard(Guard.SIGNAL, Operation.SIGNAL, 9, 7)},
         {"guard": "signal", "operation": "signal", "detail": "SIGKILL", "target": 7}),
        (EventKind.MAPPING, {"path": b"/memfd:jit (deleted)"},
         {"path": "/memfd:jit (deleted)", "inode": 55, "device": "8:1"}),
        (EventKind.ESCAPE, {}, {}),
        (EventKind.FORK, {}, {}),
        (EventKind.WORKLOAD, {}, {}),
        (EventKind.WORKLOAD_END, {}, {}),
    ],
)  # fmt: skip
def test_each_kind_has_its_object(
    kind: EventKind, fields: dict[str, Any], found: dict[str, Any]
) -> None:
    event = decoded(kind, **fields)
    assert event["kind"] == kind.name.lower()
    assert event["object"] == found


@pytest.mark.parametrize("decision", Decision)
@pytest.mark.parametrize("reason", Reason)
def test_every_decision_and_reason_has_a_word(decision: Decision, reason: Reason) -> None:
    event = decoded(EventKind.FORK, decision=decision, reason=reason)
    assert (event["decision"], event["reason"]) == (decision.name.lower(), reason.name.lower())


HOSTILE = [
    b"/tmp/a\nb",
    b"/tmp/\xff\xfe\x80",
    b"/tmp/nul\0inside",
    b"/tmp/\x1b[2J\r\x07",
    "/tmp/\u202egpj.exe".encode(),
    b"/" + b"x" * 4095,
    b"/" + b"\xff" * 4095,
    b"/" + "ä".encode() * 2047,
]


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: repr(path[:12]))
def test_a_path_of_any_bytes_is_intact(path: bytes) -> None:
    event = decoded(EventKind.EXEC, path=path)
    line = json.dumps(event)
    assert "\n" not in line
    assert exact_bytes(json.loads(line)["object"], "path") == path


@pytest.mark.parametrize("comm", [b"a\nb", b"\xff\xfe", b"\x1b[2J", b"0123456789abcde", b""])
def test_a_processes_name_of_any_bytes_is_intact(comm: bytes) -> None:
    line = json.dumps(decoded(EventKind.FORK, comm=comm))
    assert exact_bytes(json.loads(line)["subject"], "comm") == comm


def test_what_the_hook_could_not_see_is_null_and_not_zero() -> None:
    event = decoded(EventKind.SEND, net=net("10.0.0.1", 1), start=0, parent=0, sequenced=0)
    assert (event["subject"]["start"], event["subject"]["parent"]) == (None, None)
    assert event["sequence"] is None
    assert event["rule"] is None


@pytest.mark.parametrize(
    ("flags", "state", "escaped"),
    [
        (TagFlag(0), "active", False),
        (TagFlag.AFTER, "after", False),
        (TagFlag.AFTER | TagFlag.ESCAPED, "after", True),
    ],
)
def test_a_tag_attributes_to_its_call(flags: TagFlag, state: str, escaped: bool) -> None:
    event = decoded(EventKind.FORK, call=9, flags=flags)
    assert event["attribution"] == "kernel"
    assert event["tag"]["call"] == {"number": 9, "id": "call-9", "state": state}
    assert event["tag"]["escaped"] == escaped


def test_what_was_let_pass_for_an_exemption_says_so() -> None:
    event = decoded(EventKind.FORK, decision=Decision.AUDITED, flags=TagFlag.EXEMPT)
    assert (event["decision"], event["tag"]["exempt"]) == ("audited", True)
    assert event["tag"]["escaped"] is False


def test_an_event_of_the_agents_own_has_all_fields_and_no_number() -> None:
    subject = {"pid": 1, "tid": 1, "uid": 0, "parent": None, "start": None, "comm": "lictor"}
    made = DECODER.made_here("exempt", WORKLOAD, 3, Decision.AUDITED, subject=subject, object={})
    assert made.keys() == decoded(EventKind.FORK).keys()
    assert made["tag"].keys() == decoded(EventKind.FORK)["tag"].keys()
    assert (made["kind"], made["decision"], made["reason"]) == ("exempt", "audited", "none")
    assert (made["sequence"], made["workload_id"], made["policy"]) == (None, WORKLOAD, "policy-3")
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert made["time"] == pytest.approx(1_000_000 + since_boot, abs=5)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", f"event record of 0 bytes is shorter than {HEAD}"),
        (record(EventKind.FORK)[:-1], f"event record of {HEAD - 1} bytes is shorter than {HEAD}"),
        (record(EventKind.FORK, version=2), "event record of version 2, not 1"),
        (record(EventKind.FORK, version=0), "event record of version 0, not 1"),
        (bytes(HEAD), "event record of version 0, not 1"),
        (record(77), "77 is not a valid EventKind"),
        (record(0), "0 is not a valid EventKind"),
        (record(EventKind.FORK, decision=9), "9 is not a valid Decision"),
        (record(EventKind.FORK, reason=99), "99 is not a valid Reason"),
        (record(EventKind.EXEC, path=b"/usr/bin/git")[:-4], "exec record holds 9 of 12 bytes"),
        (record(EventKind.UNIX, path=b"/run/x")[: HEAD + 2], "unix record holds 2 of 6 bytes"),
        (record(EventKind.EXEC, path=b"/usr")[:HEAD], "exec record holds 0 of 4 bytes"),
    ],
)
def test_a_record_that_cannot_be_told_is_a_value_error(data: bytes, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        DECODER.decode(data)
