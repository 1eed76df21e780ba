# SPDX-License-Identifier: Apache-2.0
"""A revision is the same whether this node's agent or the control plane gives it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from controlplane.contract.policy import parse_policy
from enforcer.cli.exits import CommandFailed
from enforcer.cli.main import main
from enforcer.cli.policy_revision import of_agent, of_control_plane
from tests.api import samples
from tests.unit.enforcer.cli.conftest import StartAgent
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane

ARGUMENTS = argparse.Namespace(api=None, token_file=None, ca_file=None, node_only=False)


def test_of_the_agent(start_agent: StartAgent) -> None:
    policy = parse_policy(samples.policy(), "rl")
    shown = {"name": "rl", "revision": 7, "document": policy.to_document()}
    agent = start_agent("admin", policy_show=lambda _: {"policy": shown})
    found = of_agent("rl")
    assert (found.number, found.policy) == (7, policy)
    of_agent("rl", 7)
    assert agent.asked("policy.show") == [{"name": "rl"}, {"name": "rl", "revision": 7}]


def test_of_the_control_plane(controlplane: ServedControlPlane, tmp_path: Path) -> None:
    file = tmp_path / "rl.yaml"
    for port in (80, 443):
        file.write_text(samples.policy(port=port))
        main(["policy", "apply", str(file)])
    newest, first = of_control_plane(ARGUMENTS, "rl"), of_control_plane(ARGUMENTS, "rl", 1)
    assert (newest.number, first.number) == (2, 1)
    assert first.policy == parse_policy(samples.policy(port=80), "rl")
    main(["policy", "remove", "rl"])
    with pytest.raises(CommandFailed, match="policy rl@3: is a removal, and has no text"):
        of_control_plane(ARGUMENTS, "rl")
    with pytest.raises(CommandFailed, match="other: is not known"):
        of_control_plane(ARGUMENTS, "other")
