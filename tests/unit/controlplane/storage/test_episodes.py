# SPDX-License-Identifier: Apache-2.0
"""An episode's record has all that happened in it, and says whether that is all."""

from __future__ import annotations

import pytest

from controlplane.contract.records import Episode, EpisodeBinding, NodeReport, WorkloadReport
from controlplane.storage import episodes, nodes
from tests.unit.controlplane.samples import BOOT, NODE, WORKLOAD, make_call, make_denied, make_event
from tests.unit.controlplane.storage.conftest import NOW, Storage

EPISODE = "rome-0001"


def get(storage: Storage, name: str = EPISODE) -> Episode:
    found = storage.read(episodes.get, name)
    assert found is not None
    return found


def counted(storage: Storage, events: int) -> None:
    workload = WorkloadReport(
        id=WORKLOAD, path="/lictor.slice/a", policy="base", covered=True, events=events
    )
    report = NodeReport(boot=BOOT, version="1", enforcing=True, mode="lsm", workloads=[workload])
    storage.write(nodes.report, NODE, report, NOW)


def test_an_episode_is_bound_closed_and_stays_closed(storage: Storage) -> None:
    binding = EpisodeBinding(node=NODE, workload="/rl.slice/a", labels={"run": "7\0"})
    storage.write(episodes.put, EPISODE, binding, NOW)
    found = get(storage)
    assert (found.state, found.created, found.closed) == ("open", NOW, None)
    assert (found.node, found.workload, found.labels) == (NODE, "/rl.slice/a", {"run": "7\0"})
    storage.write(episodes.close, EPISODE, NOW + 1)
    storage.write(episodes.close, EPISODE, NOW + 2)
    storage.write(episodes.put, EPISODE, EpisodeBinding(), NOW + 3)
    found = get(storage)
    assert (found.state, found.created, found.closed) == ("closed", NOW, NOW + 1)
    assert (found.node, found.labels) == (None, {})


def test_an_unknown_episode_is_none(storage: Storage) -> None:
    storage.write(episodes.close, "unknown", NOW)
    assert storage.read(episodes.get, "unknown") is None
    assert storage.read(episodes.get, "\ud800") is None
    assert storage.read(episodes.all) == []


def test_an_episode_that_nobody_bound_is_found_by_what_names_it(storage: Storage) -> None:
    storage.ship([make_denied(2), make_event(1)])
    storage.ship(calls=[make_call(9, episode="by call", started=5.0)])
    assert get(storage).created == make_event(1)["time"]
    summaries = storage.read(episodes.all)
    assert [(s.id, s.incidents, s.created) for s in summaries] == [
        (EPISODE, 1, make_event(1)["time"]), ("by call", 0, 5.0),
    ]  # fmt: skip
    storage.ship([make_event(3)])
    assert len(storage.read(episodes.all)) == 2


def test_the_record_has_calls_incidents_and_decisions(storage: Storage) -> None:
    sent = [
        make_event(1),
        make_denied(2),
        make_denied(3, decision="audited"),
        make_event(4, call=None),
    ]
    storage.ship(sent, [make_call(), make_call(2, episode="other")])
    found = get(storage)
    assert [c.id for c in found.calls] == ["call_1"]
    assert [(i.denied, i.audited) for i in found.incidents] == [(1, 1)]
    assert found.decisions == {"allowed": 1, "denied": 1, "audited": 1}


@pytest.mark.parametrize(
    ("sequences", "reported", "missing", "statement"),
    [
        ([1, 2, 3], 3, 0, "nothing missing of 3 events"),
        ([1, 2, 3], 0, 0, "nothing missing of 3 events"),
        ([3, 1], 3, 1, "1 of 3 events missing"),
        ([5], 0, 4, "4 of 5 events missing"),
        ([1, 2], 5, 3,
         "3 of 5 events missing; 3 of them the newest, which may still be on their way"),
        ([1, 4], 5, 3,
         "3 of 5 events missing; 1 of them the newest, which may still be on their way"),
    ],
)  # fmt: skip
def test_completeness_says_exactly_what_is_missing(
    storage: Storage, sequences: list[int], reported: int, missing: int, statement: str
) -> None:
    storage.ship([make_event(number) for number in sequences])
    counted(storage, reported)
    found = get(storage).completeness
    assert found.statement == statement
    assert (found.complete, found.missing, found.events) == (not missing, missing, len(sequences))


def test_a_report_before_the_first_event_counts(storage: Storage) -> None:
    counted(storage, 3)
    storage.ship([make_event(1)], [make_call()])
    assert get(storage).completeness.missing == 2
    storage.ship([make_event(2), make_event(3)])
    assert get(storage).completeness.complete


def test_events_that_carry_no_number_prove_nothing(storage: Storage) -> None:
    storage.ship([make_event(1), make_event(None)])
    found = get(storage).completeness
    assert not found.complete
    assert found.events == 2
    assert found.statement == (
        "not known; events that have no number, of which some may be missing: 1"
    )


def test_what_the_agent_itself_tells_needs_no_number(storage: Storage) -> None:
    told = [make_event(None, kind=kind) for kind in ("exempt", "exempt_end")]
    storage.ship([make_event(1), *told])
    assert get(storage).completeness.complete


def test_silence_is_no_evidence(storage: Storage) -> None:
    storage.write(episodes.put, EPISODE, EpisodeBinding(workload="/rl.slice/a"), NOW)
    found = get(storage).completeness
    assert not found.complete
    assert found.statement == "not known: nothing has come from its workloads"


def test_all_workloads_of_an_episode_count(storage: Storage) -> None:
    binding = EpisodeBinding(node=NODE, workload="/rl.slice/bound")
    storage.write(episodes.put, EPISODE, binding, NOW)
    storage.ship([
        make_event(1),
        make_event(2, workload_id=2, call=None),
        make_event(3, workload_id=3, workload="/rl.slice/bound", call=None),
        make_event(9, workload_id=4, call=None),
    ], [make_call(5, workload=2)])  # fmt: skip
    storage.ship([make_event(8, node="gpu-2", workload="/rl.slice/bound", call=None)], node="gpu-2")
    assert get(storage).completeness.statement == "3 of 6 events missing"
