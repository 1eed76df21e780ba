# SPDX-License-Identifier: Apache-2.0
"""The events that are sent are such as a node ships, each once."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from controlplane.contract.event import event_id
from enforcer.uplink_shipping import LARGEST_BATCH
from tests.bench import ingest


def test_events_come_in_batches_as_the_uplink_sends_them() -> None:
    assert [len(batch) for batch in ingest.batches(2500)] == [LARGEST_BATCH, LARGEST_BATCH, 500]


def test_every_event_is_another_and_numbers_go_on() -> None:
    events = list(itertools.chain(*ingest.batches(2000)))
    assert len({event_id(event) for event in events}) == 2000
    for workload in {event["workload_id"] for event in events}:
        numbers = [event["sequence"] for event in events if event["workload_id"] == workload]
        assert numbers == list(range(1, 2000 // ingest.WORKLOADS + 1))


def test_a_tenth_is_denied_and_half_are_execs() -> None:
    events = list(itertools.chain(*ingest.batches(1000)))
    assert Counter(event["kind"] for event in events) == {"exec": 500, "connect": 500}
    assert Counter(event["decision"] for event in events) == {"allowed": 900, "denied": 100}


def test_a_real_server_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "EVENTS", 2000)
    monkeypatch.setattr(ingest, "WARM_UP", LARGEST_BATCH)
    found = ingest.measure()
    assert found["events"] == 2000
    assert found["events_per_cpu_second"] > 100
    assert 0 < found["memory"]["start"]["VmRSS"] <= found["memory"]["after_events"]["VmRSS"]
