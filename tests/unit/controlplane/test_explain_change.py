# SPDX-License-Identifier: Apache-2.0
"""`allow` adds one entry for exactly what was attempted, and leaves to people what is theirs."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.contract.policy import parse_policy
from controlplane.explain import GpuNames, allow, explain, proposed
from enforcer.abi import Reason
from tests.unit.controlplane.contract.documents import parsed
from tests.unit.controlplane.events import connect, event, execution, opening, raw_socket, reaching

UUID = "GPU-00000000-0000-0000-0000-000000000001"
GPUS: GpuNames = {(195, 3): (UUID, 0), (226, 128): (UUID, 0)}


@pytest.mark.parametrize(
    ("made", "field", "value"),
    [
        (
            connect("10.30.0.1", 22),
            "egress.allow",
            {"to": "10.30.0.1/32", "protocol": "tcp", "ports": [22]},
        ),
        (
            connect("2001:db8::1", 53, "udp", kind="send"),
            "egress.allow",
            {"to": "2001:db8::1/128", "protocol": "udp", "ports": [53]},
        ),
        (
            connect("::ffff:10.30.0.1", 22, "mptcp"),
            "egress.allow",
            {"to": "10.30.0.1/32", "protocol": "tcp", "ports": [22]},
        ),
        (execution("/opt/tool"), "exec.allow", "/opt/tool"),
        (execution("/opt/a b: 'c' #é"), "exec.allow", "/opt/a b: 'c' #é"),
        (opening(10, 229), "devices.allow", "fuse"),
        (opening(10, 1), "devices.allow", {"char": "10:1"}),
        (opening(231, 7), "devices.allow", {"char": "231:7"}),
        (opening(7, 0, type_="block"), "devices.allow", {"block": "7:0"}),
        (reaching("/run/docker.sock"), "unix.allow", "/run/docker.sock"),
        (reaching("@a b"), "unix.allow", "@a b"),
        (opening(195, 3, "nvidia"), "devices.gpus", UUID),
        (opening(226, 128, "drm"), "devices.gpus", UUID),
    ],
)
@pytest.mark.parametrize("decision", ["denied", "audited", "allowed"])
@pytest.mark.parametrize("rules", ["rules", "none"])
def test_one_entry_is_added(
    made: dict[str, Any], field: str, value: Any, decision: str, rules: str
) -> None:
    section, listed = field.split(".")
    some = {"unix": {"allow": ["/run/nscd/**"]}}
    sections = some if rules == "rules" else {section: "none"}
    policy = parsed(**sections, grants={})
    changed = allow(policy, {**made, "decision": decision}, gpus=GPUS)
    expected = policy.to_document()
    if rules == "none":
        expected["spec"][section] = (
            {"allow": [], "gpus": "none"} if section == "devices" else {"allow": []}
        )
    if expected["spec"][section][listed] == "none":
        expected["spec"][section][listed] = []
    expected["spec"][section][listed].append(value)
    assert changed == expected


@pytest.mark.parametrize(
    "made", [connect("10.30.0.1", 22), execution("/opt/tool"), opening(195, 3, "nvidia")]
)
def test_the_explanation_shows_the_entry_in_its_place(made: dict[str, Any]) -> None:
    policy = parsed(grants={})
    change = explain(made, policy, gpus=GPUS).change
    assert change is not None
    assert change.refusal is None
    lines = change.yaml.splitlines()
    assert lines[0] == "spec:"
    assert lines[-1].lstrip().startswith("- ")
    assert change.document()["automatic"] is True
    assert change == proposed(policy, made, gpus=GPUS)


def test_the_yaml_is_that_of_a_policy_file() -> None:
    change = explain(connect("10.30.0.1", 22), parsed(egress={"allow": []})).change
    assert change is not None
    egress = change.yaml.partition("\n")[2]
    text = (
        "apiVersion: lictor/v1\nkind: Policy\nmetadata: {name: p}\n"
        f"spec:\n  mode: audit\n{egress}"
    )
    [rule] = parse_policy(text, "test").spec.egress.allow
    assert str(rule.to) == "10.30.0.1/32"


def test_a_policy_that_allows_it_stays_as_it_is() -> None:
    policy = parsed()
    made = connect("10.20.0.15", 443)
    assert allow(policy, made) == policy.to_document()
    assert proposed(policy, made) is None
    once = allow(policy, connect("10.30.0.1", 22))
    assert allow(parsed(**once["spec"]), connect("10.30.0.1", 22)) == once


def test_what_a_held_grant_allows_is_allowed() -> None:
    policy = parsed()
    assert allow(policy, opening(195, 0, "nvidia", grants=["trainer"])) == policy.to_document()


@pytest.mark.parametrize(
    ("made", "sections", "words"),
    [
        (
            execution("/usr/bin/ssh", reason="rule", rule="exec.deny[0]"), {},
            r"spec.exec.deny\[0\] denies this very file; to allow it, take that rule out",
        ),
        (
            execution("/usr/lib/x", reason="rule"),
            {"exec": {"allow": ["/usr/**"], "deny": ["/usr/lib/**"]}},
            r"spec.exec.deny\[0\] \(/usr/lib/\*\*\) denies it, and what is denied by name stays",
        ),
        (
            execution("/opt/x", grants=["t"]),
            {"grants": {"t": {"exec": {"allow": ["/opt/**"], "deny": ["/opt/x"]}}}},
            r"spec.grants.t.exec.deny\[0\] \(/opt/x\) denies it",
        ),
        (
            opening(195, 3, "nvidia"), {},
            "spec.grants.trainer.devices.gpus allows it to processes with the grant trainer",
        ),
        (connect("127.0.0.1", 80), {}, r"spec.egress.allow\[0\] allows loopback in a network"),
        (connect("0.0.0.0", 80), {}, r"spec.egress.allow\[0\] allows loopback in a network"),
        (connect("10.9.9.9", 0, "udp"), {}, "rules cannot name port 0"),
        (connect("10.9.9.9", 1, "udplite"), {}, "rules cannot name udplite"),
        (connect("10.9.9.9", 1, "132"), {}, "rules cannot name 132"),
        (execution("/tmp/x (deleted)"), {}, "the file is deleted"),
        (execution("/memfd:x (deleted)"), {}, "the file is deleted"),
        (execution(b"/tmp/\xff"), {}, "the path is not UTF-8"),
        (execution("/tmp/**"), {}, r"no rule can name a file called '\*\*'"),
        (execution("/tmp/*.sh"), {}, "is not built yet"),
        (execution("/tmp/a\nb"), {}, "holds characters that do not print"),
        (execution("/" + "x" * 240), {}, "has 241 bytes, the limit is 240"),
        (execution("(unreachable)/x"), {}, "is not absolute"),
        (opening(195, 255, "nvidiactl"), {"grants": {}}, "comes with any GPU that spec.devices"),
        (opening(510, 0, "nvidia-uvm"), {"grants": {}}, "comes with any GPU that spec.devices"),
        (opening(509, 1, "nvidia-caps"), {"grants": {}}, "only `gpus: all` surely has it"),
        (opening(226, 0, "drm"), {"grants": {}}, "only `gpus: all` surely has it"),
        (opening(195, 7, "nvidia"), {"grants": {}}, "which index GPU 7"),
        (raw_socket(), {}, "only `egress: any` allows it"),
        (event("fork", {}, reason="no_storage"), {}, "a fork is denied only where"),
        (event("escape", {}, reason="escaped"), {}, "no rule holds outside"),
        (event("workload", {}, decision="allowed", reason="none"), {}, "no policy allows or den"),
    ],
)  # fmt: skip
def test_what_a_person_should_decide_is_refused(
    made: dict[str, Any], sections: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=f"event b656d6bf-1613-21: .*{words}"):
        allow(parsed(**sections), made, gpus=GPUS)


BEYOND = (
    "escaped", "no_policy", "no_storage", "unreadable", "unarmed", "options", "changed", "mount",
)  # fmt: skip


@pytest.mark.parametrize("reason", [reason.name.lower() for reason in Reason])
def test_only_what_rules_decide_is_changed(reason: str) -> None:
    made = connect("10.30.0.1", 22, reason=reason)
    if reason in BEYOND:
        with pytest.raises(ValueError, match="event b656d6bf-1613-21: "):
            allow(parsed(), made)
    else:
        assert allow(parsed(), made) != parsed().to_document()


def test_a_denial_by_name_is_shown_as_what_to_take_out() -> None:
    made = execution("/usr/bin/ssh", reason="rule", rule="exec.deny[0]")
    change = explain(made, parsed()).change
    assert change is not None
    assert (change.action, change.field) == ("remove", "spec.exec.deny[0]")
    assert change.yaml == "spec:\n  exec:\n    deny:\n      - /usr/bin/ssh  # remove\n"


def test_a_guessed_gpu_is_shown_and_not_taken() -> None:
    change = explain(opening(195, 2, "nvidia"), parsed(grants={})).change
    assert change is not None
    assert (change.field, change.value) == ("spec.devices.gpus", 2)
    assert change.refusal is not None


def test_a_listed_gpu_stays_beside_the_new_one() -> None:
    policy = parsed(grants={}, devices={"gpus": [4]})
    changed = allow(policy, opening(195, 3, "nvidia"), gpus=GPUS)
    assert changed["spec"]["devices"]["gpus"] == [4, UUID]


def test_a_gpu_that_is_listed_by_its_other_name_is_allowed() -> None:
    policy = parsed(grants={}, devices={"gpus": [0]})
    assert allow(policy, opening(195, 3, "nvidia"), gpus=GPUS) == policy.to_document()


def test_the_policy_itself_is_left_alone() -> None:
    policy = parsed()
    allow(policy, connect("10.30.0.1", 22))
    assert policy.to_document() == parsed().to_document()


def test_a_visitor_is_let_in_by_an_ingress_rule_for_him_and_the_port() -> None:
    visit = {**connect("10.30.0.1", 41234)["object"], "local_port": 8000}
    made = event("inbound", visit, reason="not_allowed")
    document = allow(parsed(), made)
    rule = {"from": "10.30.0.1/32", "protocol": "tcp", "ports": [8000]}
    assert document["spec"]["ingress"] == {"allow": [rule]}
    assert explain(made, parsed()).reason == "ingress is `none`"
    another = {**visit, "local_port": 8001}
    near = explain(event("inbound", another, reason="port"), parsed(ingress={"allow": [rule]}))
    assert near.nearest is not None
    assert near.nearest.rule == "ingress.allow[0]"
    assert "port 8001 is not in 8000" in near.nearest.why
