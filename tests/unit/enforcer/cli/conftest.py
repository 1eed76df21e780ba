# SPDX-License-Identifier: Apache-2.0
"""A node's folders below tmp_path, and agents that listen there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.settings import ControlPlaneSettings
from enforcer import maps, paths, pins
from enforcer.cli import api
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane
from tests.unit.enforcer.fake_agent import FakeAgent, Operation

StartAgent = Callable[..., FakeAgent]


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that a command touches lies below this folder."""
    monkeypatch.setenv("LICTOR_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("LICTOR_STATE", str(tmp_path / "state"))
    for base, place in ((paths.RUN, tmp_path / "run"), (paths.STATE, tmp_path / "state")):
        for name, path in vars(paths).copy().items():
            if isinstance(path, Path) and path.is_relative_to(base):
                monkeypatch.setattr(paths, name, place / path.relative_to(base))
    monkeypatch.setattr(paths, "CONTROLPLANE_STATE", tmp_path / "controlplane")
    monkeypatch.setattr(paths, "CONTROLPLANE_SOCKET", tmp_path / "controlplane/api.sock")
    for name in (api.ADDRESS, api.TOKEN_FILE, api.CA_FILE):
        monkeypatch.delenv(name, raising=False)
    for module in (maps, pins):
        monkeypatch.setattr(module, "PIN_ROOT", tmp_path / "pins")
    return tmp_path


@pytest.fixture
def start_agent() -> Iterator[StartAgent]:
    """start_agent("admin", policy_list=...) listens on the admin socket."""
    agents: list[FakeAgent] = []

    def start(name: str, **operations: Operation) -> FakeAgent:
        path = {"admin": paths.ADMIN_SOCKET, "calls": paths.CALLS_SOCKET}[name]
        agents.append(FakeAgent(path, **operations))
        return agents[-1]

    yield start
    for agent in agents:
        agent.close()


@pytest.fixture
def controlplane(node: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedControlPlane]:
    """One that serves where commands look for it; they have an operator's token."""
    monkeypatch.setitem(ControlPlaneSettings.model_config, "env_file", None)
    served = ServedControlPlane(paths.CONTROLPLANE_STATE, paths.CONTROLPLANE_SOCKET)
    monkeypatch.setenv(api.TOKEN_FILE, str(served.token_file("operator")))
    yield served
    served.close()
