# SPDX-License-Identifier: Apache-2.0
"""`lictor policy allow` adds one rule to the policy in force, and applies it only when told to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.contract.policy import parse_policy
from controlplane.contract.wire import RequestError
from enforcer.cli.main import main
from enforcer.spool import SpoolWriter
from tests.api import samples
from tests.unit.controlplane.contract.documents import parsed, whole
from tests.unit.controlplane.events import connect, execution
from tests.unit.enforcer.cli.conftest import StartAgent
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane
from tests.unit.enforcer.fake_agent import FakeAgent

ID = "b656d6bf-1613-21"
RULE = {"to": "10.30.0.1/32", "protocol": "tcp", "ports": [22]}
ARGUMENTS = ["policy", "allow", "--from", ID]


def spool(node: Path, *events: dict[str, Any]) -> None:
    writer = SpoolWriter(node / "state/spool", 0)
    writer.append(list(events))
    writer.close()


@pytest.fixture
def agent(node: Path, start_agent: StartAgent) -> FakeAgent:
    """Has revision 4 of rl-sandbox in force; 6 is the newest that it ever had."""
    spool(node, connect("10.30.0.1", 22), connect("10.20.0.15", 443, sequence=22),
          execution("/usr/bin/ssh", sequence=23),
          connect("10.30.0.1", 22, sequence=24, policy="gone"))  # fmt: skip

    def show(message: dict[str, Any]) -> dict[str, Any]:
        if message["name"] != "rl-sandbox":
            raise RequestError("unknown_policy", f"policy {message['name']}: is not in force")
        return {"policy": {"name": "rl-sandbox", "revision": 4, "document": whole()}}

    def apply(message: dict[str, Any]) -> dict[str, Any]:
        row = {"name": "rl-sandbox", "revision": message["revision"], "mode": "enforce"}
        return {"policy": row, "workloads": 1, "warnings": []}

    return start_agent(
        "admin", drain=lambda _: {"events": 0}, policy_show=show, policy_apply=apply,
        status=lambda _: {"revisions": {"rl-sandbox": 6}},
    )  # fmt: skip


def test_the_changed_policy_is_printed_and_the_change_is_said(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(ARGUMENTS) == 0
    output = capsys.readouterr()
    changed = parsed().to_document()
    changed["spec"]["egress"]["allow"].append(RULE)
    assert yaml.safe_load(output.out) == changed
    assert output.err.splitlines() == [
        "# policy rl-sandbox, revision 4: added to spec.egress.allow:",
        "#   spec:",
        "#     egress:",
        "#       allow:",
        "#         - {to: 10.30.0.1/32, protocol: tcp, ports: [22]}",
    ]
    assert agent.asked("policy.apply") == []


def test_it_is_applied_as_the_next_revision_and_as_no_other(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGUMENTS, "--apply"]) == 0
    output = capsys.readouterr()
    assert output.out == "policy rl-sandbox: revision 7 in force (enforce)\n"
    [request] = agent.asked("policy.apply")
    assert request["revision"] == 7
    assert request["source"] == f"policy allow --from {ID}"
    assert yaml.safe_load(request["text"])["spec"]["egress"]["allow"][-1] == RULE


def test_as_json_it_is_one_object(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert output.err == ""
    assert found["before"] == {"name": "rl-sandbox", "revision": 4}
    assert found["change"]["value"] == RULE
    assert found["document"]["spec"]["egress"]["allow"][-1] == RULE
    assert found["applied"] is None
    main([*ARGUMENTS, "--json", "--apply"])
    assert json.loads(capsys.readouterr().out)["applied"]["revision"] == 7


def test_what_is_allowed_already_changes_nothing(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "allow", "--from", "b656d6bf-1613-22", "--apply"]) == 0
    output = capsys.readouterr()
    assert output.err == "# policy rl-sandbox, revision 4: allows it already; unchanged\n"
    assert output.out == ""
    assert agent.asked("policy.apply") == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("b656d6bf-1613-23", "event b656d6bf-1613-23: spec.exec.deny[0] denies this very file"),
        ("b656d6bf-1613-24", "policy gone: is not in force"),
        ("b656d6bf-1613-99", "event b656d6bf-1613-99: is not among the events of this node"),
    ],
)
def test_a_refusal_names_what_and_why(
    name: str, text: str, agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "allow", "--from", name, "--apply"]) == 1
    output = capsys.readouterr()
    assert text in output.err
    assert output.out == ""
    assert agent.asked("policy.apply") == []


def test_without_an_agent_it_ends_so(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool(node, connect("10.30.0.1", 22))
    assert main(ARGUMENTS) == 3
    assert "no agent answers" in capsys.readouterr().err


def test_with_a_control_plane_it_is_applied_for_all_nodes_and_never_over_a_newer_one(
    node: Path,
    start_agent: StartAgent,
    controlplane: ServedControlPlane,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spool(node, connect("10.30.0.1", 22, policy="rl"))
    document = parse_policy(samples.policy(), "rl").to_document()
    document["spec"]["egress"] = "none"
    agent = start_agent(
        "admin", drain=lambda _: {"events": 0}, status=lambda _: {"revisions": {"rl": 1}},
        policy_show=lambda _: {"policy": {"name": "rl", "revision": 1, "document": document}},
    )  # fmt: skip
    controlplane.start_node("gpu-1")
    path = tmp_path / "rl.yaml"
    path.write_text(yaml.safe_dump(document))
    assert main(["policy", "apply", str(path)]) == 0
    capsys.readouterr()
    assert main([*ARGUMENTS, "--apply"]) == 0
    assert capsys.readouterr().out == "policy rl: revision 2 in force on gpu-1\n"
    assert agent.asked("policy.apply") == []
    assert main([*ARGUMENTS, "--apply"]) == 1
    assert "revision" in capsys.readouterr().err
    main(["policy", "diff", "rl@1", "rl"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["--- rl@1", "+++ rl@2"]
    assert "-  egress: none" in lines
    assert "+    - to: 10.30.0.1/32" in lines


def test_an_event_of_another_node_changes_the_control_planes_newest_revision(
    controlplane: ServedControlPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a machine that is no node: no agent, no spool."""
    controlplane.ship(samples.event(21), samples.event(22, policy="gone"))
    path = tmp_path / "rl.yaml"
    path.write_text(samples.policy())
    main(["policy", "apply", str(path)])
    controlplane.start_node("gpu-1")
    capsys.readouterr()
    assert main(ARGUMENTS) == 0
    output = capsys.readouterr()
    rule = {"to": "198.51.100.7/32", "protocol": "tcp", "ports": [22]}
    assert yaml.safe_load(output.out)["spec"]["egress"]["allow"][-1] == rule
    assert output.err.startswith("# policy rl, revision 1: added to spec.egress.allow:\n")
    assert main([*ARGUMENTS, "--apply"]) == 0
    assert capsys.readouterr().out == "policy rl: revision 2 in force on gpu-1\n"
    assert main([*ARGUMENTS, "--apply"]) == 0
    assert "revision 2: allows it already; unchanged" in capsys.readouterr().err
    assert main(["policy", "allow", "--from", "b656d6bf-1613-22"]) == 1
    assert "policy gone: is not known" in capsys.readouterr().err
    assert main([*ARGUMENTS, "--node-only"]) == 1
    assert "no events yet" in capsys.readouterr().err
