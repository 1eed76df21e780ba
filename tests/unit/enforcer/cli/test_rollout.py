# SPDX-License-Identifier: Apache-2.0
"""What a person reads of a revision on its way to the nodes."""

from __future__ import annotations

import pytest

from controlplane.contract.records import PolicyAccepted, PolicyFailure, Rollout
from enforcer.cli.rollout import is_late, rollout_lines


def accepted(acked: list[str], pending: list[str], failed: list[PolicyFailure]) -> PolicyAccepted:
    nodes = Rollout(acked=acked, pending=pending, failed=failed)
    return PolicyAccepted(name="rl", revision=3, nodes=nodes)


@pytest.mark.parametrize(
    ("acked", "pending", "failed", "late", "lines"),
    [
        (["a", "b"], [], [], False, ["policy rl: revision 3 in force on a, b"]),
        ([], [], [], False,
         ["policy rl: revision 3 kept; no node is live: each takes it over when it reports"]),
        (["a"], ["b"], [], True,
         ["policy rl: revision 3 in force on a", "  PENDING on b: no answer within 30 s"]),
        ([], [], [PolicyFailure(node="a\n", message="no\x1broom")], True,
         ["policy rl: revision 3 kept", "  FAILED on a\\n: no\\x1broom"]),
    ],
)  # fmt: skip
def test_who_has_it_and_who_has_not(
    acked: list[str],
    pending: list[str],
    failed: list[PolicyFailure],
    late: bool,
    lines: list[str],
) -> None:
    made = accepted(acked, pending, failed)
    assert list(rollout_lines(made, "in force")) == lines
    assert is_late(made) is late


def test_many_nodes_are_not_all_named() -> None:
    made = accepted([f"gpu-{number}" for number in range(12)], [], [])
    [line] = rollout_lines(made, "in force")
    assert line.endswith(", gpu-9 and 2 more")
