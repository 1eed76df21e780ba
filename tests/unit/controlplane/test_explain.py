# SPDX-License-Identifier: Apache-2.0
"""`explain` says why, names the nearest rule, and what would allow the attempt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.explain import explain
from enforcer.abi import Decision, EventKind, Reason
from tests.unit.controlplane.contract.documents import parsed
from tests.unit.controlplane.events import (
    connect,
    crossing,
    event,
    execution,
    opening,
    raw_socket,
    reaching,
)

POLICY = parsed()
REASONS = [reason.name.lower() for reason in Reason]
KINDS = [kind.name.lower() for kind in EventKind]
OBJECTS: dict[str, dict[str, Any]] = {
    "connect": connect("10.30.0.1", 22)["object"],
    "send": connect("10.30.0.1", 53, "udp")["object"],
    "socket": raw_socket()["object"],
    "inbound": {**connect("10.30.0.1", 40000)["object"], "local_port": 8000},
    "exec": execution("/tmp/x")["object"],
    "mapping": execution("/tmp/x.so")["object"],
    "device": opening(10, 229)["object"],
    "unix": reaching("@bus")["object"],
    "guard": crossing("mount", "mount")["object"],
}


@pytest.mark.parametrize("known", [True, False], ids=["policy", "no policy"])
@pytest.mark.parametrize("decision", [decision.name.lower() for decision in Decision])
@pytest.mark.parametrize("reason", [*REASONS, "one_of_a_later_version"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_event_is_explained(kind: str, reason: str, decision: str, known: bool) -> None:
    found = explain(
        event(kind, OBJECTS.get(kind, {}), reason=reason, decision=decision),
        POLICY if known else None,
    )
    assert found.attempt
    assert found.reason
    assert found.decision.startswith(decision)
    json.dumps(found.document())
    if decision == "allowed":
        assert (found.change, found.obstacle, found.nearest) == (None, None, None)
    else:
        assert (found.change is None) != (found.obstacle is None)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("escaped", "no rule holds outside the workload's cgroup"),
        ("no_policy", "lictor up` puts the stored policies into force again"),
        ("no_storage", "the kernel was out of memory"),
        ("unreadable", "what cannot be read cannot be judged"),
        ("unarmed", "until then every socket is denied"),
        ("mount", "mount its file system from outside"),
        ("changed", "give the rule `changed: allow`"),
    ],
)
@pytest.mark.parametrize("kind", ["connect", "exec", "mapping", "device", "socket"])
def test_what_no_rule_decided_no_rule_can_allow(kind: str, reason: str, words: str) -> None:
    found = explain(event(kind, OBJECTS[kind], reason=reason), POLICY)
    assert found.change is None
    assert found.nearest is None
    assert found.obstacle is not None
    assert words in found.obstacle


def test_a_guard_is_for_a_person_to_open() -> None:
    found = explain(crossing("mount", "mount"), POLICY)
    assert found.attempt == "mount (mount guard)"
    assert found.reason == "a guard forbids it: it acts on what is not the workload's own"
    assert found.change is not None
    assert (found.change.field, found.change.value) == ("spec.guards.allow", "mount")
    assert found.change.refusal is not None
    assert "open for every process" in found.change.refusal


def test_a_guard_that_was_opened_since_allows_it_now() -> None:
    current = parsed(guards={"allow": ["signal", "mount"]})
    found = explain(crossing("mount", "mount"), POLICY, current=current)
    assert found.now == "allowed, by guards.allow[1]"
    assert found.change is None


def test_a_raw_socket_needs_any() -> None:
    found = explain(raw_socket(), POLICY)
    assert found.attempt == "packet socket (raw)"
    assert found.obstacle is not None
    assert "only `egress: any` allows it" in found.obstacle


def test_what_an_exemption_let_pass_says_so_and_how_a_rule_would() -> None:
    made = connect("10.9.9.9", 443, decision="audited")
    made["tag"]["exempt"] = True
    found = explain(made, POLICY)
    assert found.decision.startswith("audited: it was not stopped, since the workload was exempt")
    assert found.change is not None


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (event("exempt", {"reason": "why"}, reason="none", decision="audited"), "no policy allows"),
        (event("fork", {}, reason="no_storage"), "no memory for the child's tag"),
        (event("escape", {}, reason="escaped", decision="audited"), "no rule holds outside"),
    ],
)
def test_what_is_no_section_s_matter_says_so(made: dict[str, Any], words: str) -> None:
    obstacle = explain(made, POLICY).obstacle
    assert obstacle is not None
    assert words in obstacle


@pytest.mark.parametrize(
    ("sections", "made", "reason"),
    [
        ({}, connect("10.9.9.9", 1), "no rule of egress matches"),
        ({"egress": "none"}, connect("10.9.9.9", 1), "egress is `none`"),
        ({}, connect("10.20.0.15", 22, reason="port"), "the address is in a rule; this port or"),
        ({"exec": "none"}, execution("/tmp/x"), "exec is `none`"),
        ({}, execution("/usr/bin/ssh", reason="rule", rule="exec.deny[0]"), "exec.deny[0] denies"),
        ({}, execution("/opt/x", reason="rule"), "the rules that match belong to grants"),
        (
            {"grants": {"trainer": {"devices": {"gpus": "none"}}}},
            opening(10, 1, grants=["trainer"]),
            "no rule of devices or grants.trainer.devices matches",
        ),
        (
            {"egress": "any"},
            connect("10.9.9.9", 1, decision="allowed", reason="any", rule="egress"),
            "egress is `any`",
        ),
        (
            {},
            execution("/usr/bin/x", decision="allowed", reason="rule", rule="exec.allow[0]"),
            "exec.allow[0] allows it",
        ),
        ({}, connect("127.0.0.1", 1, decision="allowed", reason="loopback"), "loopback, in a"),
    ],
)
def test_the_reason_is_in_words(
    sections: dict[str, Any], made: dict[str, Any], reason: str
) -> None:
    assert explain(made, parsed(**sections)).reason.startswith(reason)


def test_a_rule_is_shown_with_its_text() -> None:
    made = execution("/usr/bin/ssh", reason="rule", rule="exec.deny[0]")
    assert explain(made, POLICY).document()["rule"] == {
        "field": "exec.deny[0]", "text": "/usr/bin/ssh",
    }  # fmt: skip
    assert explain(made, None).document()["rule"] == {"field": "exec.deny[0]", "text": None}
    unsaved = execution("/usr/bin/ssh", reason="rule", rule="rule-7")
    assert explain(unsaved, POLICY).document()["rule"] == {"field": "rule-7", "text": None}


def test_the_change_is_one_of_the_policy_in_force_now() -> None:
    made = connect("10.30.0.1", 22)
    allowing = parsed(egress={"allow": [{"to": "10.30.0.0/24"}]})
    found = explain(made, POLICY, current=allowing)
    assert found.now == "allowed, by egress.allow[0]"
    assert found.change is None
    assert found.nearest is not None
    still = explain(made, allowing, current=POLICY)
    assert still.now == "no rule allows it"
    assert still.change is not None
    local = explain(connect("127.0.0.1", 80), parsed(egress="none"), current=POLICY)
    assert local.now is not None
    assert local.now.startswith("allowed by egress.allow[0] in a network namespace of its own")
    denying = explain(execution("/usr/bin/ssh"), parsed(exec="none"), current=POLICY)
    assert denying.now == "denied, by exec.deny[0]"


def test_without_the_policy_the_change_is_for_a_person() -> None:
    change = explain(connect("10.30.0.1", 22), None).change
    assert change is not None
    assert change.refusal == "the policy is not at hand"
    assert "{to: 10.30.0.1/32, protocol: tcp, ports: [22]}" in change.yaml


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (connect("127.0.0.1", 80), "a service of the host"),
        (opening(195, 0, "nvidia"), "comes with the control and UVM nodes"),
        (execution("/opt/x", grants=["trainer"]), "spec.grants.trainer.exec.allow"),
    ],
)
def test_a_note_says_what_to_know_before_the_change(made: dict[str, Any], words: str) -> None:
    notes = explain(made, parsed(grants={"trainer": {"egress": "none"}})).notes
    assert any(words in note for note in notes)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (event("connect", {}, version=2), "version: 2 is not 1"),
        (event("connect", {"address": "10.0.0.1"}), "object: is not one of kind 'connect'"),
        (event("device", {"type": "char", "major": None}), "object: is not one of kind 'device'"),
        (connect("nowhere", 1), "'nowhere' does not appear to be an IPv4 or IPv6 address"),
    ],
)
def test_what_is_no_event_of_schema_1_is_refused(made: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        explain(made, POLICY)
