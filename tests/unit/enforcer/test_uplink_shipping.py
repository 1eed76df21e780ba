# SPDX-License-Identifier: Apache-2.0
"""What is acknowledged is not sent again, what is not is; one bad event costs one event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from controlplane.client import ApiError, ApiUnavailable
from controlplane.contract.records import IngestResult, Problem, ToolCall
from enforcer.callbook import CallBook
from enforcer.spool import SpoolWriter
from enforcer.uplink_calls import CallReader
from enforcer.uplink_shipping import LARGEST_BATCH, BatchSize, Shipper
from enforcer.uplink_spool import SpoolReader
from enforcer.uplink_state import UplinkState
from tests.unit.enforcer.test_uplink_calls import begin
from tests.unit.enforcer.test_uplink_spool import event


class Far:
    """The control plane's end: what it took, and `fault`, which may raise instead."""

    def __init__(self) -> None:
        self.events: list[int] = []
        self.calls: list[tuple[int, bool]] = []
        self.sent: list[tuple[str, str, int, int]] = []
        self.fault: Callable[[str, Sequence[dict[str, Any]], Sequence[ToolCall]], None] | None
        self.fault = None

    async def ingest(
        self,
        node: str,
        boot: str,
        *,
        events: Sequence[dict[str, Any]] = (),
        calls: Sequence[ToolCall] = (),
        dropped: int = 0,
    ) -> IngestResult:
        self.sent.append((node, boot, len(events), len(calls)))
        if self.fault is not None:
            self.fault(node, events, calls)
        self.events += [each["sequence"] for each in events]
        self.calls += [(call.number, call.ended is not None) for call in calls]
        return IngestResult(accepted=len(events), duplicates=0)


def refusal(status: int) -> ApiError:
    return ApiError(status, Problem(title="x", status=status, detail="events[3].kind: is odd"))


class Near:
    """The node's end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.book = CallBook(folder / "calls.db")
        self.calls = CallReader(folder / "calls.db", "node-1", "boot-1")
        self.far = Far()
        self.shipper = self.shipper_from(UplinkState())

    def shipper_from(self, state: UplinkState) -> Shipper:
        spool = SpoolReader(self._folder / "spool")
        return Shipper(state, spool, self.calls, "node-1", "boot-1")

    def write(self, *events: dict[str, Any]) -> None:
        writer = SpoolWriter(self._folder / "spool", 0)
        writer.append(list(events))
        writer.close()

    def ship(self) -> int:
        """Until nothing is left; how many rounds sent something."""
        rounds = 0
        while asyncio.run(self.shipper.send(self.far)):
            rounds += 1
            assert rounds < 200
        return rounds


@pytest.fixture
def near(tmp_path: Path) -> Iterator[Near]:
    made = Near(tmp_path)
    yield made
    made.calls.close()
    made.book.close()


def test_everything_is_sent_once_in_large_batches(near: Near) -> None:
    near.write(*(event(number) for number in range(2500)))
    assert near.ship() == 3
    assert near.far.events == list(range(2500))
    assert near.ship() == 0
    near.write(event(2500))
    near.ship()
    assert near.far.events == list(range(2501))


def test_a_call_is_there_before_the_events_that_name_it(near: Near) -> None:
    number = begin(near.book, "c-1")
    near.write(event(1))
    near.ship()
    near.book.close_call(number, "ended")
    near.ship()
    assert near.far.sent == [
        ("node-1", "boot-1", 0, 1), ("node-1", "boot-1", 1, 0), ("node-1", "boot-1", 0, 1),
    ]  # fmt: skip
    assert near.far.calls == [(number, False), (number, True)]


def test_events_of_an_older_boot_or_name_go_where_they_belong(near: Near) -> None:
    near.write(event(1, boot="boot-0", node="old-name"), event(2, boot="boot-0"), event(3))
    near.ship()
    assert [(node, boot) for node, boot, _, _ in near.far.sent] == [
        ("old-name", "boot-0"), ("node-1", "boot-0"), ("node-1", "boot-1"),
    ]  # fmt: skip


@pytest.mark.parametrize("error", [refusal(500), refusal(401), refusal(429), ApiUnavailable("x")])
def test_what_was_not_acknowledged_is_sent_again(error: Exception, near: Near) -> None:
    near.write(event(1), event(2))
    begin(near.book, "c-1")

    def fault(node: str, events: Sequence[Any], calls: Sequence[ToolCall]) -> None:
        if events:
            raise error

    near.far.fault = fault
    with pytest.raises(type(error)):
        near.ship()
    kept = near.shipper.state
    near.far.fault = None
    near.shipper = near.shipper_from(kept)
    near.ship()
    assert near.far.events == [1, 2]
    assert near.far.calls == [(1, False)]
    assert near.shipper.state.refused == 0


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("bad", [{0}, {777}, {0, 1, 2}, {1499}, {100, 900, 1200}])
def test_a_bad_event_costs_itself_and_no_other(status: int, bad: set[int], near: Near) -> None:
    near.write(*(event(number) for number in range(1500)))

    def fault(node: str, events: Sequence[Any], calls: Sequence[ToolCall]) -> None:
        if any(each["sequence"] in bad for each in events):
            raise refusal(status)

    near.far.fault = fault
    near.ship()
    assert near.far.events == [number for number in range(1500) if number not in bad]
    assert near.shipper.state.refused == len(bad)


def test_a_bad_call_costs_itself_and_holds_up_no_event(near: Near) -> None:
    for index in range(20):
        begin(near.book, f"c-{index}")
    near.write(event(1))

    def fault(node: str, events: Sequence[Any], calls: Sequence[ToolCall]) -> None:
        if any(call.id == "c-7" for call in calls):
            raise refusal(400)

    near.far.fault = fault
    near.ship()
    assert [number for number, _ in near.far.calls] == [n for n in range(1, 21) if n != 8]
    assert near.far.events == [1]
    assert near.shipper.state.refused == 1


def test_calls_that_cannot_be_read_hold_up_no_event(near: Near, tmp_path: Path) -> None:
    near.calls = CallReader(tmp_path / "odd.db", "node-1", "boot-1")
    (tmp_path / "odd.db").write_text("damaged" * 1000)
    near.shipper = near.shipper_from(UplinkState())
    near.write(*(event(number) for number in range(1500)))
    with pytest.raises(OSError, match=r"odd\.db: "):
        near.ship()
    assert near.far.events == list(range(1500))


def test_arguments_that_are_refused_do_not_keep_their_call_off_the_record(near: Near) -> None:
    for name in ("c-1", "c-2", "c-3"):
        begin(near.book, name, {"name": name})
    taken: list[tuple[str, Any]] = []

    def fault(node: str, events: Sequence[Any], calls: Sequence[ToolCall]) -> None:
        if any(call.arguments == {"name": "c-2"} for call in calls):
            raise refusal(400)
        taken.extend((call.id, call.arguments) for call in calls)

    near.far.fault = fault
    near.ship()
    near.book.close_call(2, "ended")
    near.ship()
    assert taken == [
        ("c-1", {"name": "c-1"}), ("c-2", None), ("c-3", {"name": "c-3"}), ("c-2", None),
    ]  # fmt: skip
    assert near.shipper.state.refused == 0


def test_an_event_that_cannot_be_packed_costs_itself(near: Near) -> None:
    near.write(event(1), event(2), event(3))

    def fault(node: str, events: Sequence[Any], calls: Sequence[ToolCall]) -> None:
        if any(each["sequence"] == 2 for each in events):
            raise ValueError("a batch cannot be packed: x")

    near.far.fault = fault
    near.ship()
    assert near.far.events == [1, 3]


def test_a_token_that_does_not_hold_for_an_older_name_holds_up_nothing(near: Near) -> None:
    near.write(*(event(number, node="old-name") for number in range(50)), event(50))

    def fault(node: str, events: Sequence[Any], calls: Sequence[ToolCall]) -> None:
        if node != "node-1":
            raise refusal(403)

    near.far.fault = fault
    assert near.ship() == 2
    assert near.far.events == [50]
    assert near.shipper.state.refused == 50


def test_a_token_that_does_not_hold_for_the_node_itself_loses_nothing(near: Near) -> None:
    near.write(event(1))

    def fault(node: str, events: Sequence[Any], calls: Sequence[ToolCall]) -> None:
        raise refusal(403)

    near.far.fault = fault
    with pytest.raises(ApiError):
        near.ship()
    assert near.shipper.state.refused == 0


def test_sizes_halve_and_double() -> None:
    size = BatchSize()
    assert size.refused(300) is False
    assert size.number == 150
    assert size.refused(1) is True
    assert size.number == 1
    for _ in range(12):
        size.accepted()
    assert size.number == LARGEST_BATCH
