# SPDX-License-Identifier: Apache-2.0
"""What is in the rings reaches the spool, the denials first, and the kernel hears what was read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enforcer import abi, reader
from enforcer.abi import Decision, EventKind
from enforcer.decode import Decoder
from enforcer.names import CANARY_SLOT
from enforcer.reader import EventReader
from enforcer.spool import SpoolWriter, read_events
from tests.unit.enforcer.records import KnownNames, record
from tests.unit.enforcer.tables import MemoryMaps
from tests.unit.enforcer.test_ring import Ring


class Node:
    """Two rings, maps and a spool around a reader."""

    def __init__(self, folder: Path) -> None:
        self.denials, self.activity = Ring(abi.DENIAL_RING_SIZE), Ring(abi.ACTIVITY_RING_SIZE)
        self.maps: Any = MemoryMaps()
        self.maps.descriptors = {
            "denials": self.denials.descriptor,
            "activity": self.activity.descriptor,
        }
        self.folder = folder
        self.spool = SpoolWriter(folder, 0)
        self.workloads: list[tuple[int, int]] = []
        self.denied: list[abi.Event] = []
        self.reader = self.restarted()

    def restarted(self) -> EventReader:
        decoder = Decoder("n", "b", 0.0, KnownNames())
        return EventReader(self.maps, decoder, self.spool, self._on_workload, self.denied.append)

    def _on_workload(self, event: abi.Event) -> None:
        self.workloads.append((event.kind, event.workload))

    def stored(self) -> list[tuple[str, Any]]:
        return [(event["kind"], event["sequence"]) for event in read_events(self.folder)]

    def close(self) -> None:
        self.reader.close()
        self.spool.close()
        os.close(self.denials.descriptor)
        os.close(self.activity.descriptor)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path / "spool")
    yield made
    made.close()


def allowed(kind: EventKind, sequence: int, workload: int = 5) -> bytes:
    return record(kind, sequence=sequence, workload=workload, decision=Decision.ALLOWED)


def denied(sequence: int, workload: int = 5, **fields: Any) -> bytes:
    return record(EventKind.FORK, sequence=sequence, workload=workload, **fields)


def test_both_rings_are_drained_denials_first(node: Node) -> None:
    node.activity.write(allowed(EventKind.ESCAPE, 1))
    node.denials.write(denied(2))
    node.denials.write(denied(3))
    assert node.reader.drain() == 3
    assert node.stored() == [("fork", 2), ("fork", 3), ("escape", 1)]
    assert node.reader.drain() == 0


def test_events_of_both_rings_are_stored_as_they_happened(node: Node) -> None:
    node.activity.write(record(EventKind.ESCAPE, sequence=1, time=10, decision=Decision.ALLOWED))
    node.denials.write(record(EventKind.FORK, sequence=2, time=2_000))
    node.activity.write(record(EventKind.ESCAPE, sequence=3, time=3_000, decision=Decision.ALLOWED))
    assert node.reader.drain() == 3
    assert node.stored() == [("escape", 1), ("fork", 2), ("escape", 3)]
    assert [event.sequence for event in node.denied] == [2]


def test_the_kernel_hears_how_much_of_each_workloads_denials_was_read(node: Node) -> None:
    data = denied(1)
    for workload in (5, 5, 6):
        node.denials.write(denied(1, workload=workload))
    node.activity.write(allowed(EventKind.FORK, 1))
    node.reader.drain()
    assert {n: node.maps.consumed.get(n) for n in (5, 6)} == {5: 2 * len(data), 6: len(data)}
    node.denials.write(data)
    node.reader.drain()
    assert node.maps.consumed.get(5) == 3 * len(data)


def test_only_what_is_stored_is_told_to_be_read(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    append, put = node.spool.append, node.maps.consumed.put

    def stored(events: list[dict[str, Any]]) -> None:
        order.append("stored")
        append(events)

    def told(*entry: Any) -> None:
        order.append("told")
        put(*entry)

    monkeypatch.setattr(node.spool, "append", stored)
    monkeypatch.setattr(node.maps.consumed, "put", told)
    node.denials.write(denied(1))
    node.reader.drain()
    assert order == ["stored", "told"]


def test_workloads_that_come_and_go_are_told_of(node: Node) -> None:
    for kind, workload in (
        (EventKind.WORKLOAD, 7),
        (EventKind.FORK, 8),
        (EventKind.WORKLOAD_END, 7),
    ):
        node.activity.write(allowed(kind, 1, workload))
    node.reader.drain()
    assert node.workloads == [(EventKind.WORKLOAD, 7), (EventKind.WORKLOAD_END, 7)]


@pytest.mark.parametrize(
    "bad", [b"short", bytes(abi.Event(version=9)), bytes(abi.Event(version=1))]
)
def test_a_record_that_cannot_be_told_is_counted_and_holds_up_nothing(
    bad: bytes, node: Node
) -> None:
    for data in (denied(1), bad, denied(2)):
        node.denials.write(data)
    assert node.reader.drain() == 2
    assert node.reader.undecodable == 1
    assert node.stored() == [("fork", 1), ("fork", 2)]
    assert node.denials.consumed() == node.denials.produced


def test_the_canarys_attempts_are_no_events(node: Node) -> None:
    node.denials.write(denied(1, policy=CANARY_SLOT))
    node.denials.write(denied(2))
    assert node.reader.drain() == 1
    assert node.stored() == [("fork", 2)]


def test_events_that_found_no_room_on_disk_are_counted(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(node.spool, "append", full)
    for sequence in (1, 2):
        node.denials.write(denied(sequence))
    node.reader.drain()
    assert node.reader.unwritten == 2
    assert node.denials.consumed() == node.denials.produced
    assert node.maps.consumed.get(5) == 2 * len(denied(1))


def test_a_flood_is_read_in_batches(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BATCH_BYTES", 10 * (len(denied(0)) + 8))
    for sequence in range(25):
        node.denials.write(denied(sequence))
    assert [node.reader.drain() for _ in range(4)] == [10, 10, 5, 0]
    assert [sequence for _, sequence in node.stored()] == list(range(25))


def test_what_a_stopped_agent_left_is_for_the_next(node: Node) -> None:
    node.denials.write(denied(1))
    node.reader.drain()
    node.denials.write(denied(2))
    node.reader.close()
    node.reader = node.restarted()
    assert node.reader.drain() == 1
    assert [sequence for _, sequence in node.stored()] == [1, 2]
