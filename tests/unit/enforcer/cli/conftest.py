# SPDX-License-Identifier: Apache-2.0
"""A node's folders below tmp_path, and agents that listen there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enforcer import maps, paths, pins
from tests.unit.enforcer.fake_agent import FakeAgent, Operation

StartAgent = Callable[..., FakeAgent]


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that a command touches lies below this folder."""
    monkeypatch.setenv("LICTOR_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("LICTOR_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    for name, place in (
        ("ADMIN_SOCKET", "run/admin.sock"),
        ("CALLS_SOCKET", "run/calls.sock"),
        ("AGENT_PID", "run/agent.pid"),
        ("LOADER_REPORT", "run/loader.json"),
        ("SPOOL", "state/spool"),
    ):
        monkeypatch.setattr(paths, name, tmp_path / place)
    for module in (maps, pins):
        monkeypatch.setattr(module, "PIN_ROOT", tmp_path / "pins")
    return tmp_path


@pytest.fixture
def start_agent(node: Path) -> Iterator[StartAgent]:
    """start_agent("admin", policy_list=...) listens on admin.sock."""
    agents: list[FakeAgent] = []

    def start(name: str, **operations: Operation) -> FakeAgent:
        agents.append(FakeAgent(node / f"run/{name}.sock", **operations))
        return agents[-1]

    yield start
    for agent in agents:
        agent.close()
