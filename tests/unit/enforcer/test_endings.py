# SPDX-License-Identifier: Apache-2.0
"""Only what was refused, and is the workload's own, is ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from enforcer import abi, cgroups, sockdiag
from enforcer.abi import Decision, EventKind
from enforcer.endings import MOST_FLOWS, Endings
from enforcer.sockdiag import Choice, Flow
from tests.unit.enforcer.records import net, record

ADDRESS = bytes(10) + b"\xff\xff\x0a\x00\x00\x01"


class Namespaces:
    """A cgroup tree with this very process in it, and what was asked to be destroyed."""

    def __init__(self, root: Path) -> None:
        inside = root / "rl.slice/below"
        inside.mkdir(parents=True)
        (root / "rl.slice/cgroup.procs").write_text("")
        (inside / "cgroup.procs").write_text(f"{os.getpid()}\n{os.getpid()}\n")
        self.workload, self.below = (root / "rl.slice").stat().st_ino, inside.stat().st_ino
        self.asked: list[tuple[str, Choice]] = []

    def destroy(self, namespace: str, unwanted: Choice) -> int:
        self.asked.append((namespace, unwanted))
        return 1


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Namespaces:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    made = Namespaces(tmp_path)
    monkeypatch.setattr(sockdiag, "destroy", made.destroy)
    return made


def refused(workload: int, *, local_port: int = 40000, **fields: Any) -> abi.Event:
    values: dict[str, Any] = {"decision": Decision.DENIED, "workload": workload, **fields}
    event = abi.Event.from_buffer_copy(record(EventKind.CONNECT, **values))
    event.net = net("10.0.0.1", 443)
    event.net.local_port = local_port
    return event


def test_what_was_refused_is_ended_where_the_workload_is(tree: Namespaces) -> None:
    endings = Endings()
    endings.note(refused(tree.workload))
    assert endings.round() == 1
    ((namespace, unwanted),) = tree.asked
    assert namespace == f"/proc/{os.getpid()}/ns/net"
    flow = Flow(ADDRESS, 443, 40000)
    assert unwanted(flow, tree.workload)
    assert unwanted(flow, tree.below)
    assert not unwanted(flow, 1)
    assert not unwanted(Flow(ADDRESS, 443, 40001), tree.below)
    assert endings.round() == 0
    assert len(tree.asked) == 1


def test_what_got_its_errno_and_what_went_through_is_left_alone(tree: Namespaces) -> None:
    endings = Endings()
    endings.note(refused(tree.workload, local_port=0))
    endings.note(refused(tree.workload, decision=Decision.AUDITED))
    endings.note(abi.Event.from_buffer_copy(record(EventKind.SEND, workload=tree.workload)))
    assert endings.round() == 0
    assert tree.asked == []


def test_a_workload_that_is_gone_needs_nothing(tree: Namespaces) -> None:
    endings = Endings()
    endings.note(refused(1 << 40))
    assert endings.round() == 0


def test_a_flood_takes_bounded_memory(tree: Namespaces) -> None:
    endings = Endings()
    for port in range(1, MOST_FLOWS + 50):
        endings.note(refused(tree.workload, local_port=port))
    endings.round()
    ((_, unwanted),) = tree.asked
    assert unwanted(Flow(ADDRESS, 443, MOST_FLOWS), tree.workload)
    assert not unwanted(Flow(ADDRESS, 443, MOST_FLOWS + 1), tree.workload)


def test_a_kernel_that_refuses_is_no_end_of_the_agent(
    tree: Namespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_namespace: str, _unwanted: Choice) -> int:
        raise OSError(95, "Operation not supported", "sock_diag")

    monkeypatch.setattr(sockdiag, "destroy", refuse)
    endings = Endings()
    endings.note(refused(tree.workload))
    assert endings.round() == 0
