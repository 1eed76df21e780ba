# SPDX-License-Identifier: Apache-2.0
"""A valid policy becomes typed values that name their place, and goes back unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from pydantic import ValidationError

from controlplane.contract.policy import (
    parse_policy,
    parse_policy_object,
    policy_digest,
    policy_schema,
)
from controlplane.contract.policy_devices import DeviceRule

from .documents import parsed, whole

ROOT = Path(__file__).parents[4]
SHIPPED = sorted((ROOT / "policies").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_policy_parses_and_is_named_like_its_file(path: Path) -> None:
    policy = parse_policy(path.read_bytes(), path.name)
    assert policy.name == path.stem
    assert policy.metadata.description
    assert parse_policy_object(policy.to_document(), "document") == policy


def test_what_is_shipped() -> None:
    modes = {path.stem: parse_policy(path.read_bytes(), path.name).spec.mode for path in SHIPPED}
    assert modes == {"observe": "audit", "rl-sandbox": "enforce", "trainer": "enforce"}


def test_observe_audits_by_the_rules_of_rl_sandbox() -> None:
    texts = {path.stem: path.read_bytes() for path in SHIPPED}
    observe, sandbox = (parse_policy(texts[name], name) for name in ("observe", "rl-sandbox"))
    assert observe.spec.exec.document() == sandbox.spec.exec.document()
    assert observe.spec.devices.document() == sandbox.spec.devices.document()
    assert observe.spec.unix.document() == sandbox.spec.unix.document()


@pytest.mark.parametrize(
    ("to", "network"),
    [
        ("10.20.0.15", IPv4Network("10.20.0.15/32")),
        ("0.0.0.0/0", IPv4Network("0.0.0.0/0")),
        ("fd00::/8", IPv6Network("fd00::/8")),
        ("FD00::1", IPv6Network("fd00::1/128")),
        ("::/0", IPv6Network("::/0")),
        ("::ffff:10.20.0.15", IPv4Network("10.20.0.15/32")),
        ("::ffff:a14:0/112", IPv4Network("10.20.0.0/16")),
        ("::ffff:0:0/96", IPv4Network("0.0.0.0/0")),
    ],
)
def test_a_destination_is_the_network_it_means(to: str, network: object) -> None:
    [rule] = parsed(egress={"allow": [{"to": to}]}).spec.egress.allow
    assert rule.network == network
    assert not rule.loopback
    assert (rule.protocol, rule.ports) == ("any", ((0, 65535),))


def test_loopback_has_no_network() -> None:
    rule = parsed().spec.egress.allow[0]
    assert rule.loopback
    assert rule.network is None


def test_ports_are_sorted_and_merged() -> None:
    ports = ["8000-8010", 443, 8011, "8005-8020", 444]
    [rule] = parsed(egress={"allow": [{"to": "10.0.0.1", "ports": ports}]}).spec.egress.allow
    assert rule.ports == ((443, 444), (8000, 8020))
    assert rule.document() == {"to": "10.0.0.1/32", "ports": ["443-444", "8000-8020"]}


@pytest.mark.parametrize(
    ("cgroup", "path", "form"),
    [
        ("/rl.slice/a", "/rl.slice/a", "subtree"),
        ("/rl.slice/*", "/rl.slice", "children"),
        ("/rl.slice/**", "/rl.slice", "tree"),
    ],
)
def test_a_selector_has_a_path_and_a_form(cgroup: str, path: str, form: str) -> None:
    [selector] = parsed(select=[{"cgroup": cgroup}]).spec.select
    assert (selector.path, selector.form, selector.cgroup) == (path, form, cgroup)


@pytest.mark.parametrize(
    ("path", "base", "is_prefix", "match"),
    [
        ("/usr/**", "/usr", True, b"/usr/"),
        ("/**", "/", True, b"/"),
        ("/usr/bin/[", "/usr/bin/[", False, b"/usr/bin/["),
        ("/opt/ä b", "/opt/ä b", False, "/opt/ä b".encode()),
    ],
)
def test_an_exec_rule_says_what_it_matches(
    path: str, base: str, is_prefix: bool, match: bytes
) -> None:
    [rule] = parsed(exec={"allow": [{"path": path}]}).spec.exec.allow
    assert (rule.base, rule.is_prefix, rule.match_bytes) == (base, is_prefix, match)
    assert parsed(exec={"allow": [path]}).spec.exec.allow == (rule,)


def test_a_rule_says_whether_what_it_allows_may_have_changed_or_else_its_section() -> None:
    written = ["/a", {"path": "/b", "changed": "allow"}, {"path": "/c", "changed": "deny"}]
    for section, allowed in ((None, [True, True, False]), ("deny", [False, True, False])):
        words = {"changed": section} if section else {}
        rules = parsed(exec={"allow": written, **words}).spec.exec
        assert [rules.allows_changed(rule) for rule in rules.allow] == allowed
        assert rules.document() == {"allow": written, **words}


def test_mappings_are_listed_ones_where_nothing_is_said() -> None:
    assert parsed(exec={"allow": ["/a"]}).spec.exec.mappings == "listed"
    section = parsed(exec={"allow": ["/a"], "mappings": "any"}).spec.exec
    assert (section.mappings, section.document()) == ("any", {"allow": ["/a"], "mappings": "any"})
    assert parsed(exec={"allow": [], "mappings": "listed"}).spec.exec.document() == {"allow": []}


def test_devices_become_numbers() -> None:
    allow = ["standard", "fuse", {"char": "10:*"}, {"block": "7:3"}]
    standard, *others = parsed(devices={"allow": allow}).spec.devices.allow
    numbers = {str(rule) for rule in standard.rules}
    assert {"char 1:3", "char 1:9", "char 5:1", "char 5:2", "char 136:*", "char 143:*"} <= numbers
    assert len(numbers) == 16
    assert [entry.rules for entry in others] == [
        (DeviceRule("char", 10, 229),),
        (DeviceRule("char", 10, None),),
        (DeviceRule("block", 7, 3),),
    ]


def test_gpus_are_none_unless_written_and_uuids_are_normalised() -> None:
    assert parsed(devices={"allow": ["standard"]}).spec.devices.gpus == "none"
    uuid = "GPU-AAAAAAAA-1111-2222-3333-44444444444F"
    assert parsed(devices={"gpus": [2, uuid]}).spec.devices.gpus == (
        2,
        "GPU-aaaaaaaa-1111-2222-3333-44444444444f",
    )


def test_every_rule_names_its_field() -> None:
    grant = {"egress": {"allow": [{"to": "10.0.0.1"}]}, "exec": "any", "devices": {"gpus": [0]}}
    policy = parsed(grants={"trainer": grant})
    spec, trainer = policy.spec, policy.spec.grants["trainer"]
    assert [rule.field_path for rule in spec.egress.allow] == [
        "egress.allow[0]",
        "egress.allow[1]",
    ]
    assert spec.exec.deny[0].field_path == "exec.deny[0]"
    assert spec.devices.allow[0].field_path == "devices.allow[0]"
    assert spec.select[0].field_path == "select[0]"
    assert {name: part.field_path for name, part in trainer.sections().items()} == {
        "egress": "grants.trainer.egress",
        "exec": "grants.trainer.exec",
        "devices": "grants.trainer.devices",
    }
    assert trainer.devices is not None
    assert trainer.devices.gpus_path == "grants.trainer.devices.gpus"


def test_a_section_that_audit_mode_leaves_out_is_any() -> None:
    document = whole(mode="audit")
    for section in ("select", "egress", "ingress", "exec", "devices", "grants"):
        del document["spec"][section]
    policy = parse_policy_object(document, "test")
    assert policy.spec.select == ()
    assert {name: part.kind for name, part in policy.base_sections().items()} == {
        "egress": "any",
        "ingress": "any",
        "exec": "any",
        "devices": "any",
        "unix": "any",
    }
    assert policy.spec.exec.field_path == "exec"
    assert policy.to_document()["spec"]["exec"] == "any"


def test_unix_left_out_in_enforce_mode_is_none() -> None:
    """A policy of before this section opens nothing by being silent."""
    policy = parsed()
    assert policy.spec.unix.kind == "none"
    assert policy.to_document()["spec"]["unix"] == "none"


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        parsed().spec.mode = "audit"


def test_a_policy_goes_to_json_and_back() -> None:
    policy = parsed()
    again = parse_policy_object(json.loads(json.dumps(policy.to_document())), "json")
    assert again == policy
    assert again.to_document() == policy.to_document()


def test_the_digest_is_of_the_meaning_not_of_the_writing() -> None:
    written = whole(egress={"allow": [{"to": "10.0.0.1", "ports": ["443-443"], "protocol": "any"}]})
    same = whole(egress={"allow": [{"ports": [443], "to": "::ffff:10.0.0.1"}]})
    other = whole(egress={"allow": [{"ports": [444], "to": "10.0.0.1"}]})
    digests = [policy_digest(parse_policy_object(each, "x")) for each in (written, same, other)]
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 64


def test_the_schema_knows_every_field_and_the_short_forms() -> None:
    schema = policy_schema()
    definitions = schema["$defs"]
    assert set(definitions["Spec"]["properties"]) == {
        *("mode", "select", "egress", "ingress", "exec", "devices", "unix", "guards", "grants"),
    }
    short, rules = definitions["ExecSection"]["anyOf"]
    assert short == {"enum": ["any", "none"]}
    assert set(rules["properties"]) == {"allow", "deny", "changed", "mappings"}
    assert definitions["ExecRule"]["anyOf"][0] == {"type": "string"}
    assert "standard" in definitions["DeviceEntry"]["anyOf"][0]["enum"]
    json.dumps(schema)


def test_the_contract_imports_neither_side_nor_anything_heavy() -> None:
    program = (
        "import sys, controlplane.contract.policy;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    loaded = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True
    ).stdout.split()
    assert "pydantic" in loaded
    assert not {"enforcer", "bcc", "aiohttp", "sqlalchemy", "pydantic_settings"} & set(loaded)
