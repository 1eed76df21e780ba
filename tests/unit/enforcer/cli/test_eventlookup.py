# SPDX-License-Identifier: Apache-2.0
"""An event is found by its id, and a GPU by its number where the node can say so."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.event import event_id
from enforcer import gpu
from enforcer.cli import eventlookup
from enforcer.cli.eventlookup import FoundEvent, find_event, gpu_names, id_matcher
from enforcer.names import boot_identity
from enforcer.spool import SpoolWriter
from tests.api import samples
from tests.unit.controlplane.events import connect, execution, opening
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane

HERE = argparse.Namespace(api=None, token_file=None, ca_file=None, node_only=False)
UUID = "GPU-00000000-0000-0000-0000-000000000001"


def spool(node: Path, *events: dict[str, Any]) -> None:
    writer = SpoolWriter(node / "state/spool", 0)
    writer.append(list(events))
    writer.close()


def test_the_one_event_of_that_id_is_found(node: Path) -> None:
    wanted = connect("10.0.0.1", 2, sequence=22)
    spool(
        node,
        connect("10.0.0.1", 1),
        connect("10.0.0.1", 3, sequence=22, workload_id=7),
        connect("10.0.0.1", 4, sequence=22, boot="ffffffff-0000"),
        connect("10.0.0.1", 5, sequence=None),
        wanted,
    )
    assert find_event(HERE, "b656d6bf-1613-22") == FoundEvent(wanted, here=True)


def test_an_event_without_a_sequence_has_an_id_of_its_own(node: Path) -> None:
    one, other = (connect("10.0.0.1", port, sequence=None) for port in (1, 2))
    spool(node, one, other)
    assert event_id(one).startswith("b656d6bf-1613-x")
    assert find_event(HERE, event_id(one)).event == one
    assert find_event(HERE, event_id(other)).event == other


@pytest.mark.parametrize(
    "text",
    ["", "21", "b656d6bf", "b656d6bf-1613", "b656d6bf-1613-", "-1-2", "b656d6bf-1-x12", "\x1b[2J"],
)
def test_what_is_no_id_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="is not an event's id, such as b656d6bf-1613-21") as error:
        id_matcher(text)
    assert str(error.value).isprintable()


def test_an_event_that_is_gone_is_named(node: Path) -> None:
    spool(node, connect("10.0.0.1", 1))
    with pytest.raises(ValueError, match="event b656d6bf-1613-9: is not among the events of this"):
        find_event(HERE, "b656d6bf-1613-9")


def test_without_a_spool_it_says_what_to_do() -> None:
    with pytest.raises(OSError, match="no events yet; start the agent: lictor up"):
        find_event(HERE, "b656d6bf-1613-9")


def test_what_this_node_has_not_the_control_plane_may_have(
    node: Path, controlplane: ServedControlPlane
) -> None:
    sent = samples.event(1)
    controlplane.ship(sent, samples.event(2, tag={"grants": 7, "call": None}))
    assert find_event(HERE, "b656d6bf-1613-1") == FoundEvent(sent, here=False)
    own = connect("10.0.0.1", 1, boot=samples.BOOT)
    spool(node, own)
    assert find_event(HERE, "b656d6bf-1613-21") == FoundEvent(own, here=True)
    assert find_event(HERE, "b656d6bf-1613-1").here is False
    with pytest.raises(ValueError, match="is not known to the control plane, nor among the"):
        find_event(HERE, "b656d6bf-1613-9")
    with pytest.raises(ValueError, match=r"b656d6bf-1613-2: tag\.grants: 7 is not a list of names"):
        find_event(HERE, "b656d6bf-1613-2")
    alone = argparse.Namespace(**{**vars(HERE), "node_only": True})
    with pytest.raises(ValueError, match="is not among the events of this node"):
        find_event(alone, "b656d6bf-1613-1")


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "driver_gpus", lambda: None)


def here(major: int, minor: int) -> dict[str, Any]:
    return opening(major, minor, "nvidia", boot=boot_identity()[0])


def test_a_gpu_is_named_by_its_uuid_and_its_index() -> None:
    known = [gpu.Gpu(0, UUID, 3, ""), gpu.Gpu(1, "GPU-2", 2, "")]
    found = gpu_names(here(195, 3), find=lambda: known)
    assert found == {(195, 3): (UUID, 0), (195, 2): ("GPU-2", 1)}


def test_a_node_that_cannot_list_its_gpus_takes_the_index_for_the_minor(no_driver: None) -> None:
    assert gpu_names(here(195, 3), find=lambda: None) == {(195, 3): (3,)}
    assert gpu_names(here(195, 255), find=lambda: None) == {}


def test_numbers_of_another_boot_say_nothing() -> None:
    known = [gpu.Gpu(0, UUID, 3, "")]
    assert gpu_names(opening(195, 3, "nvidia"), find=lambda: known) == {}
    assert gpu_names(execution("/x"), find=lambda: known) == {}


def test_an_agent_that_does_not_answer_is_no_hindrance(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eventlookup.let_agent_drain()
    assert "events up to now may be missing" in capsys.readouterr().err
