# SPDX-License-Identifier: Apache-2.0
"""`lictor nodes`: which node can be relied upon."""

from __future__ import annotations

import json

import pytest

from controlplane.contract.records import NodeList, WorkloadReport
from enforcer.cli.main import main
from enforcer.cli.output import local_time
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane


def test_a_node_that_enforces_and_one_that_does_not(
    controlplane: ServedControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    covered = WorkloadReport(id=1, path="/a", policy="rl", covered=True)
    uncovered = WorkloadReport(id=2, path="/b", policy=None, covered=False, reason="no policy")
    controlplane.report(
        "gpu-1", covered, uncovered, spool_waiting_bytes=3 << 20, enforcing_since=1e9, canary_at=2e9
    )
    counts = {"spool_dropped": 1, "unwritten": 2, "undecodable": 3, "refused": 4}
    controlplane.report("gpu-2", enforcing=False, problem="no programs\nare loaded", **counts)
    assert main(["nodes"]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "NODE", "LIVE", "SEEN", "ENFORCING", "SINCE", "CANARY", "VERSION", "WORKLOADS", "UNSENT",
        "LOST", "NOTE",
    ]  # fmt: skip
    assert first.split()[:2] == ["gpu-1", "yes"]
    times = f"{local_time(1e9)}  {local_time(2e9)}"
    assert f"  yes (lsm)  {times}  0.1.0    2 (1 NOT COVERED)  3.0 MiB  0     -" in first
    assert second.endswith("0 B      10    no programs\\nare loaded")
    assert "  NO " in second


def test_of_a_silent_node_nothing_is_claimed(
    controlplane: ServedControlPlane,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from controlplane.storage import nodes

    controlplane.report("gpu-1", enforcing_since=1e9)
    monkeypatch.setattr(nodes, "LIVE_SECONDS", -1.0)
    main(["nodes"])
    words = capsys.readouterr().out.splitlines()[1].split()
    assert (words[1], words[4], words[5]) == ("NO", "unknown", "-")


def test_json_is_the_apis_model(
    controlplane: ServedControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    controlplane.report("gpu-1")
    main(["nodes", "--json"])
    found = NodeList.model_validate(json.loads(capsys.readouterr().out))
    assert [node.name for node in found.nodes] == ["gpu-1"]
