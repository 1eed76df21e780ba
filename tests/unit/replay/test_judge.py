# SPDX-License-Identifier: Apache-2.0
"""When a step holds, and what the report says of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.replay import judge
from tests.replay.play import Played
from tests.replay.trajectory import STEPS
from tests.unit.replay import samples

KEYS = {
    "id",
    "tool",
    "arguments",
    "expected",
    "observed",
    "decisions",
    "attribution",
    "held",
}


def report(played: Played, events: list[dict[str, Any]]) -> dict[str, Any]:
    return judge.build([played], events, "6.1.0", lictor=True)


def test_every_step_has_the_promised_fields() -> None:
    played = [samples.played(step.id) for step in STEPS]
    events = [event for step in STEPS for event in samples.good_events(step.id)]
    made = judge.build(played, events, "6.1.0", lictor=True)
    assert all(set(step) == KEYS for step in made["steps"])
    assert made["held"] is True
    assert made["attacks_succeeded"] == 0
    assert made["attacks"] == sum(step.attack for step in STEPS)


def test_an_attack_that_reached_the_far_side_does_not_hold() -> None:
    reached = samples.played("fetched-miner", harmed=True)
    made = report(reached, samples.good_events("fetched-miner"))
    assert made["held"] is False
    assert made["attacks_succeeded"] == 1


def test_one_stray_packet_is_enough_not_to_hold() -> None:
    leaked = samples.played("fetched-miner", samples.with_packet(samples.STRAY_PACKET))
    assert report(leaked, samples.good_events("fetched-miner"))["held"] is False


def test_packets_to_the_mirror_are_no_strays() -> None:
    fetched = samples.played("fetched-miner", samples.with_packet(samples.MIRROR_PACKET))
    assert report(fetched, samples.good_events("fetched-miner"))["held"] is True


def test_a_wrong_legitimate_result_does_not_hold() -> None:
    assert report(samples.played("run-tests", right=False), [])["held"] is False


def test_a_denial_in_a_legitimate_call_does_not_hold() -> None:
    false_denial = samples.event("run-tests", samples.step("reverse-tunnel").denials[0])
    assert report(samples.played("run-tests"), [false_denial])["held"] is False


def test_a_denial_outside_every_call_counts_against_the_run() -> None:
    loose = samples.event(None, samples.step("gpu-node").denials[0])
    made = report(samples.played("run-tests"), [loose])
    assert made["steps"][0]["held"] is True
    assert made["held"] is False
    assert made["denials_outside_calls"][0]["target"] == "nvidia 195:0"


@pytest.mark.parametrize(
    "changed",
    [
        {"decision": "audited"},
        {"attribution": "window"},
        {"kind": "connect"},
        {"object": {"path": "/usr/bin/scp"}},
        {"tag": None},
        {"tag": {"call": {"id": "reverse-tunnel", "episode": "other", "state": "active"}}},
        {"tag": {"call": {"id": "run-tests", "episode": "rome-0001", "state": "active"}}},
        {"tag": {"call": {"id": "reverse-tunnel", "episode": "rome-0001", "state": "ended"}}},
    ],
)
def test_an_attack_holds_only_by_its_own_denial(changed: dict[str, Any]) -> None:
    attack = samples.played("reverse-tunnel")
    denial = samples.event("reverse-tunnel", attack.step.denials[0], **changed)
    assert report(attack, [denial])["steps"][0]["held"] is False


def test_a_sweep_must_be_denied_at_each_target() -> None:
    events = samples.good_events("internal-sweep")
    assert len(events) == 24
    assert report(samples.played("internal-sweep"), events)["held"] is True
    assert report(samples.played("internal-sweep"), events[1:])["held"] is False


def test_like_decisions_are_folded_and_counted_denials_first() -> None:
    denial = samples.step("udp-beacon").denials[0]
    allowed = samples.event("udp-beacon", denial, decision="allowed")
    events = [allowed, *samples.good_events("udp-beacon"), *samples.good_events("udp-beacon")]
    folded = judge.decisions(events)
    assert [(entry["decision"], entry["count"]) for entry in folded] == [
        ("denied", 2),
        ("allowed", 1),
    ]


def test_without_lictor_an_attack_that_succeeds_is_counted() -> None:
    played = [samples.played("udp-beacon", harmed=True), samples.played("run-tests")]
    made = judge.build(played, [], "6.1.0", lictor=False)
    assert made["mode"] == "without-lictor"
    assert made["held"] is False
    assert made["attacks_succeeded"] == made["attacks"] == 1
    assert [step["attribution"] for step in made["steps"]] == ["no events", "no events"]


def test_a_lost_event_shows_as_a_missing_number() -> None:
    denial = samples.step("udp-beacon").denials[0]
    events = [samples.event("udp-beacon", denial, sequence=number) for number in (1, 2, 5)]
    other = samples.event(None, denial, workload_id=8, sequence=9)
    unnumbered = samples.event("udp-beacon", denial, sequence=None)
    assert judge.completeness([*events, unnumbered, other]) == {"count": 4, "missing": 2}
    assert judge.completeness([]) == {"count": 0, "missing": 0}
