# SPDX-License-Identifier: Apache-2.0
"""A batch counts once, however often and in whatever order it is sent."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.records import IngestResult
from controlplane.storage import incidents
from controlplane.storage.fields import IngestError
from controlplane.storage.tables import shipments
from tests.unit.controlplane.samples import (
    NODE,
    OTHER_BOOT,
    make_call,
    make_denied,
    make_event,
    make_exec,
)
from tests.unit.controlplane.storage.conftest import Storage


def attempts() -> list[dict[str, Any]]:
    """Forty events: every fourth is denied."""
    return [
        make_denied(n, call=None if n % 8 == 0 else make_denied()["tag"]["call"])
        if n % 4 == 0
        else make_exec(n)
        for n in range(1, 41)
    ]


def test_a_batch_sent_again_changes_nothing(storage: Storage) -> None:
    assert storage.ship(attempts(), [make_call()]) == IngestResult(accepted=40, duplicates=0)
    before = storage.read(incidents.query)
    assert storage.ship(attempts(), [make_call()]) == IngestResult(accepted=0, duplicates=40)
    assert storage.read(incidents.query) == before
    assert sum(i.denied for i in before) == 10


@pytest.mark.parametrize("seed", range(4))
def test_order_repetition_and_division_change_nothing(storage: Storage, seed: int) -> None:
    chance = random.Random(seed)
    waiting = attempts() * 2
    chance.shuffle(waiting)
    accepted = 0
    while waiting:
        size = chance.randint(1, 9)
        accepted += storage.ship(waiting[:size]).accepted
        waiting = waiting[size:]
    assert accepted == 40
    found = storage.read(incidents.query)
    assert [(i.denied, i.first_event, i.call) for i in sorted(found, key=lambda i: i.first)] == [
        (5, "b656d6bf-1613-4", "call_1"), (5, "b656d6bf-1613-8", None),
    ]  # fmt: skip
    stored = storage.read(incidents.get, found[0].id)
    assert stored is not None
    assert len(stored.events) == 5


@pytest.mark.parametrize(
    ("event", "place"),
    [
        (make_event(2, node="gpu-2"), "events[1].node: 'gpu-2' is not 'gpu-1'"),
        (make_event(2, boot=OTHER_BOOT), f"events[1].boot: '{OTHER_BOOT}' is not"),
    ],
)
def test_a_node_speaks_for_itself_and_one_boot_only(
    storage: Storage, event: dict[str, Any], place: str
) -> None:
    with pytest.raises(IngestError) as refused:
        storage.ship([make_event(1), event])
    assert str(refused.value).startswith(place)
    with pytest.raises(IngestError, match=r"calls\[0\]\.node: 'gpu-2' is not 'gpu-1'"):
        storage.ship([make_event(1)], [make_call(node="gpu-2")])
    assert storage.ids() == []


def counted(storage: Storage) -> list[tuple[str, int, int, int]]:
    async def rows(connection: AsyncConnection) -> list[tuple[str, int, int, int]]:
        here = shipments.c
        columns = select(here.node, here.accepted, here.duplicates, here.dropped)
        return [tuple(row) for row in await connection.execute(columns)]

    return storage.read(rows)


def test_what_became_of_a_nodes_shipments_is_counted(storage: Storage) -> None:
    assert counted(storage) == []
    storage.ship([make_event(1), make_event(2)], dropped=5)
    storage.ship([make_event(2), make_event(3)], dropped=3)
    assert counted(storage) == [(NODE, 3, 1, 5)]


def test_an_empty_batch_is_taken(storage: Storage) -> None:
    assert storage.ship(dropped=7) == IngestResult(accepted=0, duplicates=0)
    assert counted(storage) == [(NODE, 0, 0, 7)]
