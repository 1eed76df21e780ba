# SPDX-License-Identifier: Apache-2.0
"""`lictor workloads` adds up what went missing, and says what is not covered and why."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.records import WorkloadReport
from enforcer import cgroups
from enforcer.cli.main import main
from enforcer.cli.output import local_time
from enforcer.uplink_report import NOT_ARMED, NOT_SELECTED, covered_workloads
from tests.unit.enforcer.cli.conftest import StartAgent
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane

Capture = pytest.CaptureFixture[str]
HEADER = ["NODE", "WORKLOAD", "POLICY", "COVERED", "EVENTS", "MISSING", "NOTE"]
COUNTS = {"suppressed": 2, "lost_denials": 3, "lost_activity": 4, "delivered": 0}
ROWS: list[dict[str, Any]] = [
    {"id": 7, "path": "/rl.slice/a\n", "policy": "rl", "armed": True, "events": 9, **COUNTS},
    {"id": 8, "path": None, "policy": "rl", "armed": False, "events": 0,
     **dict.fromkeys(COUNTS, 0)},
]  # fmt: skip
STATUS = {"node": "n", "pid": 1, "workloads": ROWS, "spool_dropped": 5, "undecodable": 0,
          "unwritten": 0}  # fmt: skip
CONTAINER = f"/machine.slice/libpod-{'0123456789abcdef' * 4}.scope"


@pytest.fixture(autouse=True)
def _tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node with one container."""
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "cgroup")
    (tmp_path / f"cgroup{CONTAINER}").mkdir(parents=True)


def report(*workloads: WorkloadReport) -> tuple[WorkloadReport, ...]:
    covered = WorkloadReport(
        id=7, path="/rl.slice/a\n", policy="rl", covered=True, events=9, suppressed=2, lost=7
    )
    uncovered = WorkloadReport(id=9, path="/b", policy=None, covered=False, reason=NOT_SELECTED)
    return covered, uncovered, *workloads


def test_a_row_has_the_sum_of_what_went_missing(start_agent: StartAgent, capsys: Capture) -> None:
    start_agent("admin", status=lambda _: STATUS)
    assert main(["workloads"]) == 0
    assert [line.split(maxsplit=6) for line in capsys.readouterr().out.splitlines()] == [
        HEADER,
        ["n", "/rl.slice/a\\n", "rl", "yes", "9", "9", "-"],
        ["n", "cgroup-8", "rl", "yes", "0", "0", NOT_ARMED],
        ["n", CONTAINER, "-", "NO", "0", "0", NOT_SELECTED],
    ]


def test_an_exemption_is_in_the_note_and_in_the_json_from_both(
    start_agent: StartAgent, controlplane: ServedControlPlane, capsys: Capture
) -> None:
    until = time.time() + 60
    rows = [{**row, "exempt_until": until, "exempt_reason": "why"} for row in ROWS]
    start_agent("admin", status=lambda _: {**STATUS, "workloads": rows})
    controlplane.report("n", *covered_workloads(rows))
    note = f"EXEMPT until {local_time(until)}: why"
    for words in ([], ["--node-only"]):
        assert main(["workloads", *words]) == 0
        found = [line.split(maxsplit=6) for line in capsys.readouterr().out.splitlines()]
        assert [row[6] for row in found[1:3]] == [note, f"{NOT_ARMED}; {note}"]
        assert main(["workloads", "--json", *words]) == 0
        told = json.loads(capsys.readouterr().out)["workloads"][0]["workload"]
        assert (told["exempt_until"], told["exempt_reason"]) == (until, "why")


def test_those_of_all_live_nodes_are_listed_alike(
    start_agent: StartAgent, controlplane: ServedControlPlane, capsys: Capture
) -> None:
    agent = start_agent("admin", status=lambda _: STATUS)
    controlplane.report("gpu-1", *report())
    controlplane.report("gpu-2", *report())
    for words, nodes in (([], ["gpu-1", "gpu-2"]), (["--node", "gpu-2"], ["gpu-2"])):
        assert main(["workloads", *words]) == 0
        found = [line.split(maxsplit=6) for line in capsys.readouterr().out.splitlines()]
        assert found[0] == HEADER
        assert found[1:] == [
            row
            for node in nodes
            for row in (
                [node, "/rl.slice/a\\n", "rl", "yes", "9", "9", "-"],
                [node, "/b", "-", "NO", "0", "0", NOT_SELECTED],
            )
        ]
    assert agent.requests == []
    assert main(["workloads", "--node-only"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert main(["workloads", "--node", "gpu-9"]) == 1
    assert "node gpu-9: is not known" in capsys.readouterr().err


def test_a_silent_node_is_named_and_nothing_is_claimed_of_it(
    controlplane: ServedControlPlane, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from controlplane.storage import nodes

    controlplane.report("gpu-1", *report())
    monkeypatch.setattr(nodes, "LIVE_SECONDS", -1.0)
    assert main(["workloads"]) == 0
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 1
    assert output.err.startswith("lictor: node gpu-1: silent since ")
    main(["workloads", "--json"])
    assert json.loads(capsys.readouterr().out) == {"workloads": [], "nodes": []}


def test_json_is_the_same_from_both(
    start_agent: StartAgent, controlplane: ServedControlPlane, capsys: Capture
) -> None:
    start_agent("admin", status=lambda _: STATUS)
    controlplane.report("n", *report(), spool_dropped=5)
    found = []
    for words in ([], ["--node-only"]):
        assert main(["workloads", "--json", *words]) == 0
        found.append(json.loads(capsys.readouterr().out))
    fleet, own = found
    assert fleet["workloads"][0] == own["workloads"][0]
    assert own["workloads"][0] == {"node": "n", "workload": report()[0].model_dump()}
    counts = [{"node": "n", "spool_dropped": 5, "unwritten": 0, "undecodable": 0}]
    assert fleet["nodes"] == own["nodes"] == counts


def test_a_node_is_named_or_this_one_is_meant(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["workloads", "--node", "a", "--node-only"])
    assert ended.value.code == 2
    # Another node's are nowhere but in a control plane.
    assert main(["workloads", "--node", "a"]) == 3
    assert "no control plane answers there" in capsys.readouterr().err
