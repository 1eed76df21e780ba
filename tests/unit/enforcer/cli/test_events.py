# SPDX-License-Identifier: Apache-2.0
"""`lictor events` shows what matches, a line each, whatever text a workload put there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.event import event_id
from enforcer.abi import Decision, EventKind, Reason
from enforcer.cli import events
from enforcer.cli.main import main
from enforcer.decode import Decoder
from enforcer.spool import SpoolWriter
from tests.api import samples
from tests.unit.enforcer.cli.conftest import StartAgent
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane
from tests.unit.enforcer.records import KnownNames, net, record

CALLS: dict[int, dict[str, Any]] = {
    number: {"number": number, "id": name, "episode": episode, "step": number, "tool": "bash",
             "state": state}
    for number, name, episode, state in (
        (1, "call-1", "e-1", "active"),
        (2, "call-2", "e-1", "ended"),
        (3, "\x1b[2J\nx", "e-2", "active"),
    )
}  # fmt: skip


class Names(KnownNames):
    def call(self, number: int, at: float) -> dict[str, Any]:
        return dict(CALLS[number])

    def workload(self, number: int) -> str:
        return {1: "/rl.slice/a", 2: "/rl.slice/b"}.get(number, "/odd\nname\x1b[31m")


DECODER = Decoder("node-1", "boot-1", 1_700_000_000.0, Names())
RECORDS = [
    record(EventKind.CONNECT, net=net("10.0.0.1", 443), workload=1, call=1),
    record(EventKind.CONNECT, net=net("2001:db8::1", 80), workload=1, decision=Decision.ALLOWED,
           reason=Reason.RULE, rule=3),
    record(EventKind.EXEC, path=b"/usr/bin/ssh", workload=1, call=2),
    record(EventKind.EXEC, path=b"/tmp/\x1b[2Ja\nb\xff\0c", workload=9, call=3, comm=b"\x1b]0;x\n"),
    record(EventKind.EXEC, path=b"/" + b"x" * 4095, workload=2, decision=Decision.AUDITED),
    record(EventKind.WORKLOAD, workload=2, decision=Decision.ALLOWED, reason=Reason.NONE),
]  # fmt: skip


@pytest.fixture(autouse=True)
def spool(node: Path) -> SpoolWriter:
    writer = SpoolWriter(node / "state/spool", 0)
    writer.append([DECODER.decode(data) for data in RECORDS])
    writer.close()
    return writer


def lines(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["events", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_json_lines_are_the_events_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    found = [json.loads(line) for line in lines(capsys, "--json")]
    assert found == [DECODER.decode(data) for data in RECORDS]


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ([], [0, 1, 2, 3, 4, 5]),
        (["--decision", "denied"], [0, 2, 3]),
        (["--decision", "allowed"], [1, 5]),
        (["--kind", "exec"], [2, 3, 4]),
        (["--kind", "exec", "--decision", "audited"], [4]),
        (["--workload", "/rl.slice/a"], [0, 1, 2]),
        (["--workload", "/rl.slice"], []),
        (["--episode", "e-1"], [0, 2]),
        (["--call", "call-2"], [2]),
        (["--call", "call-2", "--kind", "connect"], []),
        (["--kind", "no such"], []),
        (["--id", "boot-1-9-12"], [3]),
        (["--id", "boot-1-2-12"], [4, 5]),
        (["--id", "boot-1-2-12", "--kind", "exec"], [4]),
        (["--id", "boot-1-1-13"], []),
    ],
)
def test_only_what_matches_every_filter_is_shown(
    words: list[str], places: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [DECODER.decode(RECORDS[place]) for place in places]
    assert [json.loads(line) for line in lines(capsys, "--json", *words)] == wanted
    assert len(lines(capsys, *words)) == len(places)


def test_the_table_names_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    shown = [" ".join(line.split()[1:]) for line in lines(capsys)]
    assert shown[0] == (
        "DENIED connect tcp 10.0.0.1:443 python3[100] call=call-1 policy-3#8:not_allowed"
        " node-1 /rl.slice/a boot-1-1-12"
    )
    assert shown[1] == (
        "allowed connect tcp [2001:db8::1]:80 python3[100] call=- policy-3#8:rules[3][8][3]"
        " node-1 /rl.slice/a boot-1-1-12"
    )
    assert shown[2].startswith("DENIED exec /usr/bin/ssh python3[100] call=ended:call-2 ")
    assert shown[5].startswith("allowed workload - python3[100] call=- ")


def test_hostile_text_stays_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys)
    assert len(shown) == len(RECORDS)
    assert all(line.isprintable() for line in shown)
    assert "/tmp/\\x1b[2Ja\\nb\\xff\\x00c" in shown[3]
    assert "call=\\x1b[2J\\nx" in shown[3]
    assert "/odd\\nname\\x1b[31m" in shown[3]
    assert "x" * 4095 in shown[4]


def test_what_is_no_id_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--id", "twelve"]) == 1
    assert "event twelve: is not an event's id" in capsys.readouterr().err


def test_the_agent_is_asked_to_drain_first(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = start_agent("admin", drain=lambda _: {"events": 0})
    main(["events"])
    assert agent.asked("drain") == [{}]
    assert capsys.readouterr().err == ""


def test_without_an_agent_it_says_that_events_may_be_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["events"])
    assert "events up to now may be missing" in capsys.readouterr().err


def test_a_node_without_events_says_what_to_do(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (node / "state/spool").iterdir():
        path.unlink()
    (node / "state/spool").rmdir()
    assert main(["events"]) == 1
    assert "no events yet; start the agent: lictor up" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error(node: Path) -> None:
    writer = SpoolWriter(node / "state/spool", 0)
    writer.append([DECODER.decode(RECORDS[4])] * 2000)
    writer.close()
    with subprocess.Popen(
        [sys.executable, "-m", "enforcer.cli.main", "events", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(10) == 0


def test_a_follower_shows_what_comes_and_ends_with_an_interrupt(node: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "enforcer.cli.main", "events", "--follow", "--kind", "fork"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        writer = SpoolWriter(node / "state/spool", 0)
        writer.append([DECODER.decode(record(EventKind.FORK, workload=1))])
        assert " fork " in process.stdout.readline()
        process.send_signal(2)
        assert process.wait(10) == 130
        assert "Traceback" not in process.stderr.read()
        writer.close()


def test_an_exemption_shows_its_reason(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subject = {"pid": 1, "tid": 1, "uid": 0, "parent": None, "start": None, "comm": "lictor"}
    what = {"until": 1.0, "reason": "disk full\n", "uid": 0}
    made = DECODER.made_here("exempt", 1, 3, Decision.AUDITED, subject=subject, object=what)
    writer = SpoolWriter(node / "state/spool", 0)
    writer.append([made])
    writer.close()
    [line] = lines(capsys, "--kind", "exempt")
    assert "AUDITED  exempt   disk full\\n" in line


# --- through the control plane ---------------------------------------------------


@pytest.fixture
def shipped(controlplane: ServedControlPlane) -> list[dict[str, Any]]:
    """Three events of node-1, of which this node's spool has none."""
    odd = {
        "workload": "/rl.slice/two",
        "workload_id": 7,
        "kind": "exec",
        "decision": "allowed",
        "object": {"path": "/bin/sh\x1b[2J"},
        "tag": {**samples.event()["tag"], "call": None},
    }
    sent = [samples.event(1), samples.event(2, **odd), samples.event(3, policy="other")]
    controlplane.ship(*sent)
    return sent  # fmt: skip


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ([], [0, 1, 2]), (["--node", "node-1"], [0, 1, 2]), (["--node", "node-2"], []),
        (["--workload", "/rl.slice/two"], [1]), (["--episode", "ep-1"], [0, 2]),
        (["--call", "call_1", "--policy", "other"], [2]), (["--kind", "exec"], [1]),
        (["--decision", "denied"], [0, 2]), (["--id", "b656d6bf-7-2"], [1]),
        (["--id", "b656d6bf-7-2", "--kind", "connect"], []), (["--id", "b656d6bf-7-9"], []),
    ],
)  # fmt: skip
def test_of_all_nodes_what_matches_is_shown_alike(
    words: list[str], places: list[int], shipped: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(events, "PAGE", 2)
    wanted = [shipped[place] for place in places]
    assert [json.loads(line) for line in lines(capsys, "--json", *words)] == wanted
    shown = lines(capsys, *words)
    assert [line.split()[-1] for line in shown] == [event_id(event) for event in wanted]
    assert all(line.isprintable() for line in shown)


def test_this_nodes_own_are_asked_for(
    shipped: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(lines(capsys)) == len(shipped)
    assert len(lines(capsys, "--node-only")) == len(RECORDS)


def test_what_a_node_left_out_is_no_traceback(
    controlplane: ServedControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = ("connect", "exec", "device", "socket", "of later")
    tag = {"call": {"number": 1}}
    controlplane.ship(
        *(
            samples.event(number, kind=kind, object={}, subject={"pid": 1}, tag=tag)
            for number, kind in enumerate(kinds, 1)
        )
    )
    assert len(lines(capsys)) == len(kinds)


def test_a_follower_polls_on_and_ends_with_an_interrupt(
    node: Path, controlplane: ServedControlPlane, shipped: list[dict[str, Any]]
) -> None:
    command = [sys.executable, "-m", "enforcer.cli.main", "events", "--follow", "--kind", "fork",
               "--api", f"unix:{controlplane.socket}"]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for number in (11, 12):
            controlplane.ship(samples.event(number, kind="fork", object={}))
            assert process.stdout.readline().split()[-1] == f"b656d6bf-1613-{number}"
        process.send_signal(2)
        assert process.wait(10) == 130
        assert "Traceback" not in process.stderr.read()


def test_a_reader_of_all_nodes_that_has_seen_enough_is_no_error(
    controlplane: ServedControlPlane,
) -> None:
    controlplane.ship(*map(samples.event, range(1, 2000)))
    command = [sys.executable, "-m", "enforcer.cli.main", "events", "--json",
               "--api", f"unix:{controlplane.socket}"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(10) == 0
