# SPDX-License-Identifier: Apache-2.0
"""A compiled policy gives, by the kernel's way of looking up, what the policy's text says."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from typing import Any

import pytest

from controlplane.contract.policy import parse_policy_object
from controlplane.contract.policy_devices import DeviceRule
from enforcer import abi
from enforcer.compiler import CompiledPolicy, CompileError, compile_policy
from enforcer.gpu import Gpus
from tests.unit.controlplane.contract.documents import whole
from tests.unit.enforcer.kernel_lookup import BASE, Answer, Lookup

UDP = socket.IPPROTO_UDP
BITS = {"trainer": 1, "tools": 2}


def no_gpus(gpus: Gpus, field_path: str) -> Iterable[DeviceRule]:
    return [DeviceRule("char", 195, None)] if gpus == "all" else []


def compiled(**sections: object) -> CompiledPolicy:
    """The whole policy of the contract's tests, with sections replaced and no grants."""
    policy = parse_policy_object(whole(**{"grants": {}, **sections}), "test")
    return compile_policy(policy, slot=3, ruleset=7, revision=12, grants=BITS, resolve_gpus=no_gpus)


def exec_lookup(allow: list[str], deny: list[str] | None = None, **more: object) -> Lookup:
    return Lookup(compiled(exec={"allow": allow, "deny": deny or []}, **more))


def egress_lookup(*rules: dict[str, Any], **more: object) -> Lookup:
    return Lookup(compiled(egress={"allow": list(rules)}, **more))


def test_the_head_says_which_revision_of_which_policy_it_is() -> None:
    head = compiled().ruleset
    assert (head.policy, head.revision, head.mode) == (3, 12, abi.Mode.ENFORCE)
    assert compiled(mode="audit").ruleset.mode == abi.Mode.AUDIT


def test_the_head_says_which_guards_are_open() -> None:
    assert compiled().ruleset.guards_open == 0
    head = compiled(guards={"allow": ["pins", "signal"]}).ruleset
    assert head.guards_open == 1 << abi.Guard.PINS | 1 << abi.Guard.SIGNAL


# --- exec -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (b"/usr/bin/git", Answer(True, "exec.allow[0]")),
        (b"/usr/bin/ssh", Answer(False, "exec.deny[0]")),
        (b"/usr/bin/ssh-keygen", Answer(True, "exec.allow[0]")),
        (b"/usr/bin/ss", Answer(True, "exec.allow[0]")),
        (b"/usr/sbin/tool", Answer(False, "exec.deny[1]")),
        (b"/usr/sbin/deep/fine/x", Answer(True, "exec.allow[2]")),
        (b"/usr/sbin/deep/fine", Answer(False, "exec.deny[1]")),
        (b"/usr", Answer(False)),
        (b"/usrlocal/x", Answer(False)),
        (b"/home/x", Answer(False)),
        (b"usr/bin/git", Answer(False)),
        (b"", Answer(False)),
        (b"/opt/one", Answer(True, "exec.allow[1]")),
        (b"/opt/one/two", Answer(False)),
        (b"/opt/one\n", Answer(False)),
    ],
)
def test_the_most_specific_path_wins(path: bytes, answer: Answer) -> None:
    lookup = exec_lookup(
        ["/usr/**", "/opt/one", "/usr/sbin/deep/fine/**"], ["/usr/bin/ssh", "/usr/sbin/**"]
    )
    assert lookup.exec(path) == answer


def test_the_root_folder_is_every_path() -> None:
    assert exec_lookup(["/**"]).exec(b"/anything/at/all").allowed


def test_a_path_that_is_not_ascii_is_its_bytes() -> None:
    lookup = exec_lookup(["/opt/käse/**"])
    assert lookup.exec("/opt/käse/x".encode()).allowed
    assert not lookup.exec("/opt/käse/x".encode("latin-1")).allowed


def test_the_longest_rule_path_fits_with_its_nul() -> None:
    path = "/" + "a" * 239
    lookup = exec_lookup([path])
    assert lookup.exec(path.encode()).allowed
    assert not lookup.exec(path.encode() + b"b").allowed


@pytest.mark.parametrize(("section", "allowed"), [("any", True), ("none", False)])
def test_a_section_of_one_word_needs_no_entries(section: str, allowed: bool) -> None:
    policy = compiled(exec=section, egress=section, devices=section)
    lookup = Lookup(policy)
    for name, answer in (
        ("exec", lookup.exec(b"/x")),
        ("egress", lookup.connect("192.0.2.1", 1)),
        ("devices", lookup.open_device(1, 3)),
    ):
        assert answer == Answer(allowed, name if allowed else None)
    assert (policy.paths, policy.destinations, policy.devices) == ([], [], [])


def _by_the_text(rules: list[tuple[str, bool]], path: str) -> bool:
    """What the policy language says of one section: the longest rule that matches decides."""
    best, allowed = -1, False
    for rule, allows in rules:
        prefix = rule.removesuffix("**") if rule.endswith("/**") else None
        matches = path.startswith(prefix) if prefix is not None else path == rule
        length = len(prefix) if prefix is not None else len(rule) + 1
        if matches and length > best:
            best, allowed = length, allows
    return allowed


@pytest.mark.parametrize("seed", range(40))
def test_paths_and_grants_agree_with_the_text(seed: int) -> None:
    chosen = random.Random(seed)
    folders = ["/a", "/a/b", "/a/b/c", "/ab", "/b", "/a/b/cc"]
    candidates = [*folders, *(f"{folder}/**" for folder in folders), "/**"]

    def rules() -> list[tuple[str, bool]]:
        picked = chosen.sample(candidates, chosen.randint(1, 6))
        return [(path, chosen.random() < 0.5) for path in picked]

    def section(listed: list[tuple[str, bool]]) -> dict[str, list[str]]:
        return {
            "allow": [path for path, allowed in listed if allowed],
            "deny": [path for path, allowed in listed if not allowed],
        }

    scopes = {BASE: rules(), 2: rules(), 4: rules()}
    policy = compiled(
        exec=section(scopes[BASE]),
        grants={"trainer": {"exec": section(scopes[2])}, "tools": {"exec": section(scopes[4])}},
    )
    for path in [*folders, "/a/x", "/a/b/x", "/a/b/c/x", "/ab/x", "/abc", "/x", "/a/b/cc/c"]:
        for held in (BASE, BASE | 2, BASE | 4, BASE | 6):
            wanted = any(_by_the_text(r, path) for bit, r in scopes.items() if bit & held)
            assert Lookup(policy, held).exec(path.encode()).allowed == wanted, (path, held, scopes)


def test_a_grants_denial_takes_nothing_from_the_base() -> None:
    policy = compiled(
        exec={"allow": ["/usr/**"]},
        grants={"trainer": {"exec": {"allow": ["/opt/**"], "deny": ["/usr/bin/x", "/opt/x"]}}},
    )
    trainer = Lookup(policy, BASE | 2)
    assert trainer.exec(b"/usr/bin/x") == Answer(True, "exec.allow[0]")
    assert trainer.exec(b"/opt/y") == Answer(True, "grants.trainer.exec.allow[0]")
    assert not trainer.exec(b"/opt/x").allowed
    assert not Lookup(policy).exec(b"/opt/y").allowed


def test_what_changed_is_left_to_the_grants_that_do_not_mind() -> None:
    policy = compiled(
        exec={"changed": "deny", "allow": ["/usr/**", {"path": "/build/**", "changed": "allow"}]},
        grants={"trainer": {"exec": {"allow": ["/usr/bin/**"]}}},
    )
    base, trainer = Lookup(policy), Lookup(policy, BASE | 2)
    assert base.exec(b"/usr/bin/x") == Answer(True, "exec.allow[0]")
    assert not base.exec(b"/usr/bin/x", changed=True).allowed
    assert base.exec(b"/build/x", changed=True) == Answer(True, "exec.allow[1]")
    assert trainer.exec(b"/usr/bin/x", changed=True) == Answer(True, "grants.trainer.exec.allow[0]")
    assert not trainer.exec(b"/usr/x", changed=True).allowed


def test_mappings_are_any_for_who_holds_the_scope_that_says_so() -> None:
    policy = compiled(
        exec={"allow": ["/usr/**"]},
        grants={"trainer": {"exec": {"allow": [], "mappings": "any"}}},
    )
    assert policy.ruleset.mappings_any == 2
    assert Lookup(policy, BASE | 2).map(b"/x").allowed
    assert Lookup(policy).map(b"/usr/x").allowed
    assert not Lookup(policy).map(b"/x").allowed


# --- egress -----------------------------------------------------------------


def test_a_rule_allows_its_address_ports_and_protocol_only() -> None:
    lookup = egress_lookup({"to": "10.0.0.5", "protocol": "tcp", "ports": [443, "8000-8010"]})
    rule = Answer(True, "egress.allow[0]")
    for port in (443, 8000, 8005, 8010):
        assert lookup.connect("10.0.0.5", port) == rule
        assert not lookup.connect("10.0.0.5", port, UDP).allowed
    for port in (0, 442, 444, 7999, 8011, 65535):
        assert not lookup.connect("10.0.0.5", port).allowed
    assert not lookup.connect("10.0.0.4", 443).allowed


def test_a_rule_without_ports_or_protocol_is_all_of_them() -> None:
    lookup = egress_lookup({"to": "10.0.0.0/24"})
    for port in (0, 1, 65535):
        assert lookup.connect("10.0.0.255", port, UDP).allowed
    assert not lookup.connect("10.0.1.0", 1).allowed


def test_a_narrower_network_has_its_wider_ones_rules_too() -> None:
    lookup = egress_lookup(
        {"to": "10.0.0.0/8", "ports": [80]},
        {"to": "10.1.0.0/16", "ports": [443]},
        {"to": "10.1.2.3", "protocol": "udp", "ports": [53]},
        {"to": "0.0.0.0/0", "ports": [123]},
    )
    ports = {
        address: [port for port in (53, 80, 123, 443) if lookup.connect(address, port, UDP).allowed]
        for address in ("192.0.2.1", "10.9.9.9", "10.1.9.9", "10.1.2.3")
    }
    assert ports == {
        "192.0.2.1": [123],
        "10.9.9.9": [80, 123],
        "10.1.9.9": [80, 123, 443],
        "10.1.2.3": [53, 80, 123, 443],
    }
    assert lookup.connect("10.1.2.3", 443).rule == "egress.allow[1]"
    assert not lookup.connect("10.1.2.3", 53, socket.IPPROTO_TCP).allowed


@pytest.mark.parametrize(
    ("wide", "inside"),
    [
        ("::/0", "2001:db8::1"),
        ("::/1", "::1:2:3"),
        ("::/80", "::5"),
        ("::fffe:0:0/95", "::fffe:1:2"),
    ],
)
def test_an_ipv6_network_around_the_mapped_addresses_does_not_allow_ipv4(
    wide: str, inside: str
) -> None:
    lookup = egress_lookup({"to": wide})
    assert lookup.connect(inside, 443).allowed
    for address in ("192.0.2.1", "::ffff:192.0.2.1", "0.0.0.0", "255.255.255.255"):
        assert not lookup.connect(address, 443).allowed


def test_ipv4_and_ipv6_rules_do_not_mix() -> None:
    lookup = egress_lookup({"to": "::/0", "ports": [6]}, {"to": "0.0.0.0/0", "ports": [4]})
    assert [p for p in (4, 6) if lookup.connect("192.0.2.1", p).allowed] == [4]
    assert [p for p in (4, 6) if lookup.connect("2001:db8::1", p).allowed] == [6]
    assert [p for p in (4, 6) if lookup.connect("::ffff:192.0.2.1", p).allowed] == [4]


@pytest.mark.parametrize("written", ["192.0.2.0/24", "::ffff:192.0.2.0/120"])
def test_a_mapped_network_is_the_ipv4_network(written: str) -> None:
    lookup = egress_lookup({"to": written, "ports": [443]})
    assert lookup.connect("192.0.2.7", 443).allowed
    assert lookup.connect("::ffff:192.0.2.7", 443).allowed
    assert not lookup.connect("::c000:207", 443).allowed


def test_loopback_is_a_word_of_its_own_and_no_address() -> None:
    policy = compiled(egress={"allow": [{"to": "loopback"}]})
    assert policy.destinations == []
    assert Lookup(policy).connect("127.0.0.1", 1) == Answer(True, "egress.allow[0]")
    without = compiled(egress={"allow": [{"to": "10.0.0.1"}]}).ruleset
    assert (without.loopback, without.loopback_rule) == (0, abi.NO_RULE)


def test_a_grants_destinations_are_for_those_that_hold_it() -> None:
    policy = compiled(
        egress={"allow": [{"to": "10.0.0.0/8", "ports": [80]}]},
        grants={"trainer": {"egress": {"allow": [{"to": "loopback"}, {"to": "10.0.0.1"}]}}},
    )
    base, trainer = Lookup(policy), Lookup(policy, BASE | 2)
    assert not base.connect("10.0.0.1", 29500).allowed
    assert trainer.connect("10.0.0.1", 29500).rule == "grants.trainer.egress.allow[1]"
    assert base.connect("10.0.0.1", 80).rule == "egress.allow[0]"
    assert not base.connect("::1", 1).allowed
    assert trainer.connect("::1", 1).allowed


def test_too_many_port_ranges_are_refused_by_name() -> None:
    def rule(to: str, count: int, first: int) -> dict[str, Any]:
        return {"to": to, "ports": [first + 2 * n for n in range(count)]}

    fits = [rule("10.0.0.0/8", 16, 1), rule("10.0.0.1", 16, 101)]
    assert egress_lookup(*fits).connect("10.0.0.1", 131).allowed
    with pytest.raises(CompileError) as caught:
        egress_lookup(*fits, rule("10.0.0.0/24", 1, 201))
    assert str(caught.value) == (
        "policy rl-sandbox: spec.egress.allow[2].ports: 10.0.0.1/32 has 33 port ranges,"
        " its wider networks' included; at most 32 fit: join ranges or drop a rule"
    )


# --- devices ----------------------------------------------------------------


def test_devices_are_allowed_by_number() -> None:
    lookup = Lookup(compiled(devices={"allow": ["standard", {"char": "10:229"}, {"block": "8:*"}]}))
    assert lookup.open_device(1, 3) == Answer(True, "devices.allow[0]")
    assert lookup.open_device(136, 12345).allowed
    assert lookup.open_device(10, 229) == Answer(True, "devices.allow[1]")
    assert lookup.open_device(8, 17, block=True) == Answer(True, "devices.allow[2]")
    for major, minor, block in ((1, 1, False), (8, 17, False), (1, 3, True), (195, 0, False)):
        assert lookup.open_device(major, minor, block=block) == Answer(False)


def test_gpus_of_a_grant_are_for_those_that_hold_it() -> None:
    policy = compiled(grants={"trainer": {"devices": {"gpus": "all"}}})
    assert not Lookup(policy).open_device(195, 0).allowed
    answer = Lookup(policy, BASE | 2).open_device(195, 0)
    assert answer == Answer(True, "grants.trainer.devices.gpus")


def test_one_device_by_two_grants_keeps_both() -> None:
    grant = {"devices": {"allow": ["fuse"]}}
    policy = compiled(grants={"trainer": grant, "tools": grant})
    assert [held for held in (1, 3, 5, 7) if Lookup(policy, held).open_device(10, 229).allowed] == [
        3, 5, 7,
    ]  # fmt: skip


def test_gpus_that_cannot_be_found_are_said_so() -> None:
    def missing(gpus: Gpus, field_path: str) -> Iterable[DeviceRule]:
        raise ValueError(f"{field_path}: no GPU {gpus}")

    policy = parse_policy_object(whole(devices={"gpus": [3]}), "test")
    with pytest.raises(ValueError, match=r"devices\.gpus: no GPU \(3,\)"):
        compile_policy(policy, slot=3, ruleset=7, revision=1, grants=BITS, resolve_gpus=missing)


# --- selectors and rule numbers ---------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "flags"),
    [
        ("/rl.slice", b"/rl.slice\0", abi.SelectorFlag.SELF),
        ("/rl.slice/*", b"/rl.slice/", abi.SelectorFlag.CHILD),
        ("/a/b.slice/**", b"/a/b.slice\0", abi.SelectorFlag.SELF | abi.SelectorFlag.CHILDREN),
    ],
)
def test_a_selector_is_a_path_to_match(pattern: str, text: bytes, flags: int) -> None:
    [(key, selector)] = compiled(select=[{"cgroup": pattern}]).selectors
    assert bytes(key)[4 : 4 + len(text) + 1] == text + b"\0"
    assert key.prefix_bits == 8 * len(text)
    assert (selector.policy, selector.flags) == (3, flags)


def test_a_rules_number_leads_to_its_field() -> None:
    policy = compiled(
        egress={"allow": [{"to": "loopback"}, {"to": "10.0.0.1", "ports": [1, 5, 9]}]},
        exec={"allow": ["/usr/**"], "deny": ["/usr/bin/ssh"]},
        devices="any",
    )
    assert sorted(policy.rules) == sorted(
        ["devices", "egress.allow[0]", "egress.allow[1]", "exec.allow[0]", "exec.deny[0]"]
    )


def test_every_entry_carries_the_rulesets_number() -> None:
    policy = compiled(devices={"allow": ["standard"]})
    keys = [key for entries in (policy.destinations, policy.paths, policy.devices)
            for key, _ in entries]  # fmt: skip
    assert {key.ruleset for key in keys} == {7}
