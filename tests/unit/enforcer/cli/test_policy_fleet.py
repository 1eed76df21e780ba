# SPDX-License-Identifier: Apache-2.0
"""`lictor policy` through the control plane: for all nodes, and it says which have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.client import ApiClient
from controlplane.contract.records import (
    PolicyAccepted,
    PolicyHistory,
    PolicyList,
    PolicyStatus,
)
from controlplane.contract.wire import RequestError
from enforcer import paths
from enforcer.cli import rollout
from enforcer.cli.exits import EXIT_FAILED, EXIT_UNAVAILABLE
from enforcer.cli.main import main
from tests.api import samples
from tests.unit.enforcer.cli.conftest import StartAgent
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rl.yaml"
    path.write_text(samples.policy())
    return path


def apply(file: Path, port: int = 443, *words: str) -> int:
    file.write_text(samples.policy(port=port))
    return main(["policy", "apply", str(file), *words])


def test_applied_means_in_force_on_every_live_node(
    controlplane: ServedControlPlane, file: Path, capsys: Capture
) -> None:
    for name in ("gpu-1", "gpu-2"):
        controlplane.start_node(name)
    assert apply(file) == 0
    assert capsys.readouterr().out == "policy rl: revision 1 in force on gpu-1, gpu-2\n"
    assert apply(file, 80, "--json") == 0
    accepted = PolicyAccepted.model_validate(json.loads(capsys.readouterr().out))
    assert (accepted.revision, accepted.nodes.acked) == (2, ["gpu-1", "gpu-2"])
    main(["policy", "list"])
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "REVISION", "MODE", "APPLIED", "BY", "NODES", "SELECTS"]
    assert line.startswith("rl    2         audit  ")
    assert line.endswith("  2 in force  /rl.slice/**")


def test_a_node_that_refused_or_is_silent_is_named(
    controlplane: ServedControlPlane, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(rollout, "WAIT", 1)
    controlplane.start_node("gpu-1", "failed")
    controlplane.start_node("gpu-2", None)
    assert apply(file) == EXIT_FAILED
    assert capsys.readouterr().out == (
        "policy rl: revision 1 kept\n"
        "  PENDING on gpu-2: no answer within 1 s\n"
        "  FAILED on gpu-1: no room in the kernel\n"
    )
    main(["policy", "list"])
    assert "  1 PENDING, 1 FAILED  " in capsys.readouterr().out
    assert main(["policy", "remove", "rl"]) == EXIT_FAILED
    assert main(["policy", "rollback", "rl", "1"]) == EXIT_FAILED


def test_without_a_live_node_nothing_is_claimed(
    controlplane: ServedControlPlane, file: Path, capsys: Capture
) -> None:
    assert apply(file) == 0
    text = "policy rl: revision 1 kept; no node is live: each takes it over when it reports\n"
    assert capsys.readouterr().out == text


def test_a_faulty_file_is_not_sent(
    controlplane: ServedControlPlane, tmp_path: Path, file: Path, capsys: Capture
) -> None:
    faulty = tmp_path / "faulty.yaml"
    faulty.write_text(samples.policy("other").replace("audit", "maybe") + "  egres: {}\n")
    assert main(["policy", "apply", str(file), str(faulty), str(file)]) == EXIT_FAILED
    output = capsys.readouterr()
    assert output.out.count("policy rl") == 1
    for field in ("spec.mode", "spec.egres"):
        assert f"policy other: {field}: " in output.err
    main(["policy", "list", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found.pop("node_only") is None
    listed = PolicyList.model_validate(found).policies
    assert [status.policy.revision for status in listed] == [1]


def test_a_shown_policy_is_what_was_sent(
    controlplane: ServedControlPlane, file: Path, capsys: Capture
) -> None:
    file.write_text("# why\n" + samples.policy())
    main(["policy", "apply", str(file)])
    capsys.readouterr()
    assert main(["policy", "show", "rl"]) == 0
    first, rest = capsys.readouterr().out.split("\n", 1)
    assert first.startswith("# revision 1, by the operator (token ")
    assert first.endswith("; nodes: none live")
    assert rest == file.read_text()
    main(["policy", "show", "rl", "--json"])
    assert PolicyStatus.model_validate(json.loads(capsys.readouterr().out)).policy.revision == 1


def test_a_removal_is_a_revision_of_its_own(
    controlplane: ServedControlPlane, file: Path, capsys: Capture
) -> None:
    controlplane.start_node("gpu-1")
    apply(file)
    capsys.readouterr()
    assert main(["policy", "remove", "rl"]) == 0
    assert capsys.readouterr().out == "policy rl: revision 2 removed on gpu-1\n"
    assert main(["policy", "show", "rl"]) == EXIT_FAILED
    assert capsys.readouterr().err.startswith("lictor: policy rl: removed by the operator")
    assert main(["policy", "list"]) == 0
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 1
    assert "--node-only" in output.err
    assert main(["policy", "rollback", "rl", "2"]) == EXIT_FAILED
    assert "policy rl: revision 2 is a removal" in capsys.readouterr().err
    assert main(["policy", "rollback", "rl", "1"]) == 0
    text = "policy rl: revision 3 (the text of revision 1) in force on gpu-1\n"
    assert capsys.readouterr().out == text


def test_history_says_who_changed_how_much(
    controlplane: ServedControlPlane, file: Path, capsys: Capture
) -> None:
    apply(file)
    apply(file, 80)
    main(["policy", "remove", "rl"])
    main(["policy", "rollback", "rl", "2"])
    capsys.readouterr()
    assert main(["policy", "history", "rl"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["REVISION", "APPLIED", "BY", "CHANGE"]
    assert [line[0] for line in lines] == ["4", "3", "2", "1"]
    ends = ("came back", "removed", "+1 -1 lines", "first")
    assert [line.endswith(end) for line, end in zip(lines, ends, strict=True)] == [True] * 4
    main(["policy", "history", "rl", "--json"])
    found = PolicyHistory.model_validate(json.loads(capsys.readouterr().out))
    assert found.revisions[0].text == samples.policy(port=80)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["history", "x"], "policy x: is not known"),
        (["rollback", "x", "1"], "policy x: revision 1: is not known"),
        (["show", "x"], "policy x: is not known\n  what this node alone has is asked for with"),
        (["remove", "x"], "policy x: is not known\n  what this node alone has is asked for with"),
    ],
)
def test_a_policy_that_is_not_there_is_named(
    words: list[str], text: str, controlplane: ServedControlPlane, capsys: Capture
) -> None:
    assert main(["policy", *words]) == EXIT_FAILED
    assert capsys.readouterr().err.startswith(f"lictor: {text}")


def test_node_only_asks_the_nodes_agent(
    controlplane: ServedControlPlane, start_agent: StartAgent, capsys: Capture
) -> None:
    agent = start_agent("admin", policy_list=lambda _: {"policies": []}, policy_remove=lambda _: {})
    assert main(["policy", "list", "--node-only"]) == 0
    assert main(["policy", "remove", "rl", "--node-only", "--json"]) == 0
    assert '"removed": true' in capsys.readouterr().out
    assert agent.asked("policy.remove") == [{"name": "rl"}]


def test_a_control_plane_that_is_away_is_not_passed_by(
    start_agent: StartAgent, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """What the node alone would do, the control plane would undo."""
    agent = start_agent("admin")
    monkeypatch.setenv("LICTOR_API_ADDRESS", f"unix:{paths.RUN}/away.sock")
    assert apply(file) == EXIT_UNAVAILABLE
    assert "--node-only asks this node alone" in capsys.readouterr().err
    assert agent.requests == []


def test_what_only_this_node_has_is_listed_as_such(
    controlplane: ServedControlPlane, start_agent: StartAgent, file: Path, capsys: Capture
) -> None:
    rows = [
        {"name": name, "revision": 2, "mode": "enforce", "applied": 0.0, "select": ["/x/**"]}
        for name in ("rl", "mine")
    ]
    start_agent("admin", policy_list=lambda _: {"policies": rows})
    main(["policy", "list"])
    assert len(capsys.readouterr().out.splitlines()) == 3
    apply(file)
    capsys.readouterr()
    assert main(["policy", "list"]) == 0
    output = capsys.readouterr()
    _, everywhere, alone = output.out.splitlines()
    assert everywhere.startswith("rl    1 ")
    assert alone.split()[:3] == ["mine", "2", "enforce"]
    assert alone.endswith("  this node only  /x/**")
    assert output.err == ""
    main(["policy", "list", "--json"])
    assert json.loads(capsys.readouterr().out)["node_only"] == rows[1:]


def test_an_agent_that_refuses_to_say_what_it_has_hinders_nothing(
    controlplane: ServedControlPlane, start_agent: StartAgent, file: Path, capsys: Capture
) -> None:
    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise RequestError("failed", "policies/rl/1.json: damaged")

    start_agent("admin", policy_list=refuse)
    apply(file)
    assert main(["policy", "list"]) == 0
    assert "this node only" not in capsys.readouterr().out


def test_a_rollback_does_not_undo_what_came_meanwhile(
    controlplane: ServedControlPlane, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    apply(file)
    apply(file, 80)
    look = ApiClient.policy

    async def look_too_early(client: ApiClient, name: str) -> PolicyStatus:
        status = await look(client, name)
        await client.put_policy(name, samples.policy(port=22))
        return status

    monkeypatch.setattr(ApiClient, "policy", look_too_early)
    assert main(["policy", "rollback", "rl", "1"]) == EXIT_FAILED
    assert 'policy rl: is at revision 3, not at "2"' in capsys.readouterr().err
