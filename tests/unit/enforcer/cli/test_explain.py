# SPDX-License-Identifier: Apache-2.0
"""`lictor explain` says why, what is nearest, and what would allow it, for people and programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.wire import RequestError
from enforcer.cli.main import main
from enforcer.spool import SpoolWriter
from tests.api import samples
from tests.unit.controlplane.contract.documents import whole
from tests.unit.controlplane.events import connect, event, execution
from tests.unit.enforcer.cli.conftest import StartAgent
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane
from tests.unit.enforcer.fake_agent import FakeAgent

ID = "b656d6bf-1613-21"
RULE = "{to: 10.20.0.15/32, protocol: tcp, ports: [443, 8000-8010]}"
CALL = {"number": 1, "id": "call_1", "episode": "e-1", "step": 3, "tool": "shell",
        "state": "active"}  # fmt: skip


def spool(node: Path, *events: dict[str, Any]) -> None:
    writer = SpoolWriter(node / "state/spool", 0)
    writer.append(list(events))
    writer.close()


def agent_with(start_agent: StartAgent, revisions: dict[int, Any], active: int | None) -> FakeAgent:
    """An agent that has these revisions of rl-sandbox."""

    def show(message: dict[str, Any]) -> dict[str, Any]:
        number = message.get("revision", active)
        if message["name"] != "rl-sandbox" or number not in revisions:
            raise RequestError("unknown_policy", f"policy {message['name']}: is not there")
        return {"policy": {"name": "rl-sandbox", "revision": number, "mode": "enforce",
                           "document": revisions[number]}}  # fmt: skip

    return start_agent("admin", policy_show=show, drain=lambda _: {"events": 0})


def explained(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["explain", ID, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_person_reads_why_and_what_to_do(
    node: Path, start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    made = connect("10.20.0.15", 22, reason="port")
    made["tag"]["call"] = CALL
    spool(node, made)
    agent = agent_with(start_agent, {1: whole()}, 1)
    assert main(["explain", ID]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    lines = output.out.splitlines()
    assert lines[0].startswith(f"event     {ID}, ")
    assert lines[1:] == [
        "attempt   connect to 10.20.0.15:22",
        "by        python3[339], uid 0, in /rl.slice/a of node",
        "call      call_1 (shell), step 3 of e-1, active",
        "decision  denied: it did not happen; the program got an error",
        "policy    rl-sandbox, revision 1",
        "reason    the address is in a rule; this port or protocol is not",
        f"nearest   spec.egress.allow[1]: {RULE}",
        "          address and protocol match, port 22 is not in 443, 8000-8010",
        f"allow     lictor policy allow --from {ID}",
        "          add to spec.egress.allow:",
        "            spec:",
        "              egress:",
        "                allow:",
        "                  - {to: 10.20.0.15/32, protocol: tcp, ports: [22]}",
    ]  # fmt: skip
    assert agent.asked("drain") == [{}]


def test_a_program_reads_the_same(
    node: Path, start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    made = execution("/usr/bin/ssh", reason="rule", rule="exec.deny[0]")
    spool(node, made)
    agent_with(start_agent, {1: whole()}, 1)
    found = explained(capsys)
    assert (found["id"], found["in_force"], found["event"]) == (ID, 1, made)
    assert found["rule"] == {"field": "exec.deny[0]", "text": "/usr/bin/ssh"}
    assert found["nearest"]["field"] == "exec.allow[0]"
    assert found["change"]["automatic"] is False
    assert found["now"] is None


def test_what_a_person_should_decide_says_why(
    node: Path, start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    spool(node, execution("/usr/bin/ssh", reason="rule", rule="exec.deny[0]"))
    agent_with(start_agent, {1: whole()}, 1)
    main(["explain", ID])
    text = capsys.readouterr().out
    assert "allow     not by Lictor itself: spec.exec.deny[0] denies this very file" in text
    assert "remove from spec.exec.deny:" in text
    assert "- /usr/bin/ssh  # remove" in text


def test_an_older_revision_is_asked_for_and_the_new_one_too(
    node: Path, start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    spool(node, connect("10.30.0.1", 22))
    newer = whole(egress={"allow": [{"to": "10.30.0.0/24"}]})
    agent = agent_with(start_agent, {1: whole(), 5: newer}, 5)
    found = explained(capsys)
    assert agent.asked("policy.show") == [{"name": "rl-sandbox"},
                                          {"name": "rl-sandbox", "revision": 1}]  # fmt: skip
    assert (found["in_force"], found["now"]) == (5, "allowed, by egress.allow[0]")
    assert found["nearest"]["field"] == "egress.allow[1]"
    assert found["change"] is None
    main(["explain", ID])
    assert "now       revision 5: allowed, by egress.allow[0]\n" in capsys.readouterr().out


def test_a_policy_that_is_gone_is_said_so(
    node: Path, start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    spool(node, connect("10.30.0.1", 22))
    agent_with(start_agent, {}, None)
    assert main(["explain", ID]) == 0
    output = capsys.readouterr()
    assert "explained without the policy's text: policy rl-sandbox: is not there" in output.err
    assert "not by Lictor itself: the policy is not at hand" in output.out


def test_without_an_agent_it_explains_what_it_can(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool(node, connect("10.30.0.1", 22, reason="escaped"))
    assert main(["explain", ID]) == 0
    output = capsys.readouterr()
    assert "explained without the policy's text: " in output.err
    assert "no agent answers" in output.err
    assert "allow     no rule holds outside the workload's cgroup" in output.out


def test_the_begin_of_a_workload_asks_for_no_revision(
    node: Path, start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    spool(node, event("workload", {}, decision="allowed", reason="none", revision=0))
    agent = agent_with(start_agent, {1: whole()}, 1)
    assert explained(capsys)["now"] is None
    assert agent.asked("policy.show") == [{"name": "rl-sandbox"}]
    assert capsys.readouterr().err == ""


def test_hostile_text_stays_in_its_line(
    node: Path, start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    made = execution(b"/tmp/\x1b[2J\nallow     all is well\xff", workload="/a\nb\udc80")
    made["subject"]["comm"] = "\x1b]0;x\n"
    spool(node, made)
    agent_with(start_agent, {1: whole()}, 1)
    main(["explain", ID])
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("allow     all") for line in lines)
    explained(capsys)


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["b656d6bf-1613-9"], 1, "event b656d6bf-1613-9: is not among the events of this node"),
        (["nonsense"], 1, "event nonsense: is not an event's id, such as b656d6bf-1613-21"),
    ],
)
def test_an_event_that_is_not_there_is_named(
    words: list[str], status: int, text: str, node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool(node, connect("10.30.0.1", 22))
    assert main(["explain", *words]) == status
    assert text in capsys.readouterr().err


def test_an_event_of_another_node_is_explained_by_the_control_plane(
    controlplane: ServedControlPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    controlplane.ship(samples.event(21, revision=1), samples.event(22, revision=7))
    file = tmp_path / "rl.yaml"
    for text in (samples.policy(), samples.policy().replace("10.0.0.0/8, ports: [443]",
                                                            "198.51.100.0/24")):  # fmt: skip
        file.write_text(text)
        main(["policy", "apply", str(file)])
    capsys.readouterr()
    found = explained(capsys)
    assert found["event"]["node"] == samples.NODE
    assert (found["in_force"], found["now"]) == (2, "allowed, by egress.allow[0]")
    assert found["nearest"]["field"] == "egress.allow[0]"
    assert main(["explain", "b656d6bf-1613-22"]) == 0
    output = capsys.readouterr()
    assert "in /rl.slice/one of node-1" in output.out
    assert output.err == (
        "lictor: explained without the policy's text: policy rl: revision 7: is not known\n"
    )
    assert main(["explain", ID, "--node-only"]) == 1
    assert "no events yet" in capsys.readouterr().err
