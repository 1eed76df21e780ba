# SPDX-License-Identifier: Apache-2.0
"""Each fault that a policy can hold is answered at its field with its cause."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.contract.policy import PolicyError, parse_policy

from .documents import faults, whole

LATER = "is not built yet: it comes with a later version"


def _egress(**rule: object) -> dict[str, Any]:
    return whole(egress={"allow": [{"to": "loopback"}, {"to": "10.0.0.1", **rule}]})


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("10.0.0.0/33", "'10.0.0.0/33' is not a network: the longest prefix is /32"),
        ("fd00::/129", "'fd00::/129' is not a network: the longest prefix is /128"),
        ("10.20.0.15/24", "'10.20.0.15/24' has host bits set: the network is 10.20.0.0/24"),
        ("::ffff:10.0.0.1/120", "has host bits set: the network is 10.0.0.0/24"),
        ("10.0.0.0/255.0.0.0", "is not a network: the part after '/' is a length"),
        ("10.0.0.300", "'10.0.0.300' is not an address"),
        ("10.0.0", "'10.0.0' is not an address"),
        ("010.0.0.1", "'010.0.0.1' is not an address"),
        ("", "'' is not an address"),
        ("fe80::1%eth0", "is not an address: leave the zone ('%…') out"),
        ("mirror.example.org", "is not built yet: names come with a later version; use an address"),
        ("*.example.org", "is not built yet: names come with a later version; use an address"),
        ("localhost", "'localhost' is not an address: write loopback"),
        ("any", "every address is 0.0.0.0/0 and ::/0"),
        (False, "expected text (to mean the text, put it in quotes), got the boolean false"),
        (10, "expected text (to mean the text, put it in quotes), got the number 10"),
        (["10.0.0.1"], "expected text, got a list"),
        (None, "expected text, got nothing"),
        ("10.0.0.1\n", "'10.0.0.1\\n' is not an address"),
    ],
)
def test_destinations(to: object, message: str) -> None:
    [(path, text)] = faults(_egress(to=to))
    assert path == "spec.egress.allow[1].to"
    assert message in text


@pytest.mark.parametrize(
    ("port", "message"),
    [
        (0, "the number 0 is outside the ports 1 to 65535"),
        (65536, "the number 65536 is outside the ports 1 to 65535"),
        ("1-70000", "'1-70000' is outside the ports 1 to 65535"),
        ("9-8", "'9-8' runs backwards: write 8-9"),
        ("https", "'https' is not a port or a range such as 8000-8010"),
        ("0443", "'0443' is not a port or a range such as 8000-8010"),
        ("-1", "'-1' is not a port or a range such as 8000-8010"),
        (True, "expected a port or a range such as 8000-8010, got the boolean true"),
        ([1, 2], "expected a port or a range such as 8000-8010, got a list"),
    ],
)
def test_ports(port: object, message: str) -> None:
    assert faults(_egress(ports=[443, port])) == [("spec.egress.allow[1].ports[1]", message)]


@pytest.mark.parametrize(
    ("rule", "path", "message"),
    [
        ({"ports": []}, "ports", "is empty: leave it out to mean every port"),
        ({"ports": 443}, "ports", "expected a list, got the number 443"),
        ({"protocol": "icmp"}, "protocol", "'icmp' is not 'any', 'tcp' or 'udp'"),
        ({"programs": ["/usr/bin/git"]}, "programs", LATER),
        ({"prot": "tcp"}, "prot", "unknown field; did you mean 'protocol'?"),
        ({"x": 1}, "x", "unknown field (known: ports, protocol, to)"),
        ({"to": "loopback", "ports": [1]}, "ports", "is not built yet for loopback, which is"),
    ],
)
def test_egress_rules(rule: dict[str, object], path: str, message: str) -> None:
    [(at, text)] = faults(_egress(**rule))
    assert at == f"spec.egress.allow[1].{path}"
    assert text.startswith(message)


@pytest.mark.parametrize(
    ("cgroup", "message"),
    [
        ("/", "'/' would cover the host itself, process 1 included"),
        ("/**", "would cover the host itself"),
        ("/*", "would cover the host itself"),
        ("/init.scope", "would cover the host itself"),
        ("rl.slice", "'rl.slice' is not absolute: a cgroup starts with '/'"),
        ("/a/../b", "'/a/../b' has '..' in it: write the path without"),
        ("/a/./b", "has '.' in it"),
        ("/a//b", "has an empty component ('//')"),
        ("/a/", "ends in '/'"),
        ("/a/*/b", "is not built yet (cgroup globs in the middle of a path come with a later"),
        ("/a*", "is not built yet (cgroup globs"),
        ("/a/**/b/**", "is not built yet (cgroup globs"),
        ("/" + "a" * 240, "has 241 bytes, the limit is 240"),
        ("/" + "ä" * 120, "has 241 bytes, the limit is 240"),
        ("/a\nb", "holds characters that do not print"),
        (5, "expected text"),
    ],
)
def test_cgroups(cgroup: object, message: str) -> None:
    [(path, text)] = faults(whole(select=[{"cgroup": "/ok.slice"}, {"cgroup": cgroup}]))
    assert path == "spec.select[1].cgroup"
    assert message in text


@pytest.mark.parametrize(
    ("select", "path", "message"),
    [
        ([{"pod": {"namespace": "rl"}}], "select[0].pod", LATER),
        ([{"cgroup": "/a", "unit": "x.service"}], "select[0].unit", LATER),
        ([{"cgruop": "/a"}], "select[0].cgruop", "unknown field; did you mean 'cgroup'?"),
        (["/a"], "select[0]", "expected a mapping, got '/a'"),
        ({"cgroup": "/a"}, "select", "expected a list, got a mapping"),
        ([{"cgroup": "/a"}, {"cgroup": "/a"}], "select[1].cgroup", "is the same as select[0]"),
    ],
)
def test_selectors(select: object, path: str, message: str) -> None:
    assert (f"spec.{path}", message) in faults(whole(select=select))


@pytest.mark.parametrize(
    ("section", "path", "message"),
    [
        ({"allow": ["ssh"]}, ".allow[0]", "'ssh' is not absolute: a path starts with '/'"),
        ({"allow": ["/usr/*/x"]}, ".allow[0]", "is not built yet ('*' inside a path comes with"),
        ({"allow": ["/usr/**/x"]}, ".allow[0]", "is not built yet ('*' inside a path comes with"),
        ({"allow": ["/usr/ba?"]}, ".allow[0]", "is not built yet ('?' inside a path"),
        ({"allow": ["/usr/[ab]c"]}, ".allow[0]", "is not built yet ('[ab]' inside a path"),
        ({"allow": ["/{bin,lib}/**"]}, ".allow[0]", "is not built yet ('{bin,lib}' inside a path"),
        ({"allow": ["/"]}, ".allow[0]", "'/' is a folder: write '/**' for everything below it"),
        ({"allow": ["/usr/"]}, ".allow[0]", "ends in '/': write '/**' for everything below"),
        ({"allow": ["/usr/../bin/x"]}, ".allow[0]", "has '..' in it"),
        ({"allow": ["/" + "x" * 240]}, ".allow[0]", "has 241 bytes, the limit is 240"),
        ({"allow": [7]}, ".allow[0]", "expected a path, got the number 7"),
        ({"allow": [{"changed": "allow"}]}, ".allow[0].path", "is missing"),
        (
            {"allow": [{"path": "/usr/**", "changed": "warn"}]},
            ".allow[0].changed",
            "'warn' is not 'allow' or 'deny'",
        ),
        ({"allow": [], "changed": True}, ".changed", "is not 'allow' or 'deny'"),
        (
            {"allow": [], "deny": [{"path": "/x", "changed": "deny"}]},
            ".deny[0].changed",
            "what is denied is denied, changed or not",
        ),
        ({"allow": [], "mappings": "none"}, ".mappings", "'none' is not 'listed' or 'any'"),
        ({"deny": ["/x"]}, ".allow", "is missing (a list of denials allows nothing)"),
        ({"allow": ["/x", "/y"], "deny": ["/y"]}, ".deny[0]", "is also allowed, by allow[1]"),
        (
            {"allow": [], "kind": "any"},
            ".kind",
            "unknown field (known: allow, changed, deny, mappings)",
        ),
        ({"allow": [], "interpreters": []}, ".interpreters", LATER),
        ("all", "", "'all' is not any, none or a mapping of rules"),
        (None, "", "expected any, none or a mapping of rules, got nothing"),
        ([], "", "expected any, none or a mapping of rules, got a list"),
    ],
)
def test_exec(section: object, path: str, message: str) -> None:
    [(at, text)] = faults(whole(exec=section))
    assert at == f"spec.exec{path}"
    assert message in text


@pytest.mark.parametrize(
    ("section", "path", "message"),
    [
        ({"allow": ["nvidia0"]}, ".allow[0]", "has a name for (fuse, infiniband, kvm, standard"),
        ({"allow": ["gpu"]}, ".allow[0]", "GPUs go into 'gpus'"),
        ({"allow": ["/dev/fuse"]}, ".allow[0]", "says nothing about the device behind it"),
        ({"allow": [{"char": "195:0"}]}, ".allow[0].char", "'195:0' is a GPU: write it in 'gpus'"),
        ({"allow": [{"char": "226:*"}]}, ".allow[0].char", "'226:*' is a GPU"),
        ({"allow": [{"char": "10"}]}, ".allow[0].char", "'10' is not MAJOR:MINOR or MAJOR:*"),
        ({"allow": [{"char": "*:1"}]}, ".allow[0].char", "is not MAJOR:MINOR"),
        ({"allow": [{"block": "4096:0"}]}, ".allow[0].block", "is out of range"),
        ({"allow": [{"block": 7}]}, ".allow[0].block", "expected text"),
        ({"allow": [{}]}, ".allow[0]", "write one of char and block"),
        ({"allow": [{"char": "1:3", "block": "7:0"}]}, ".allow[0]", "write one of char and block"),
        ({"allow": [{"name": "fuse"}]}, ".allow[0].name", "unknown field"),
        ({}, "", "is empty: write any, none, or rules under allow and gpus"),
        ({"gpus": "some"}, ".gpus", "expected none, all or a list of indexes and UUIDs"),
        ({"gpus": [0, "MIG-5"]}, ".gpus[1]", "'MIG-5' is not built yet: MIG slices"),
        ({"gpus": [254]}, ".gpus[0]", "is not a GPU's index (0 to 253)"),
        ({"gpus": [-1]}, ".gpus[0]", "is not a GPU's index"),
        ({"gpus": ["GPU-1"]}, ".gpus[0]", "as nvidia-smi -L shows it"),
        ({"gpus": [True]}, ".gpus[0]", "expected a GPU's index or UUID, got the boolean true"),
        ({"gpus": [1, 1]}, ".gpus", "names a GPU twice"),
        ({"deny": ["fuse"], "gpus": "none"}, ".deny", LATER),
    ],
)
def test_devices(section: object, path: str, message: str) -> None:
    found = faults(whole(devices=section))
    assert any(at == f"spec.devices{path}" and message in text for at, text in found), found


@pytest.mark.parametrize(
    ("grants", "path", "message"),
    [
        ({"trainer": {}}, "grants.trainer", "grants nothing: name egress, exec, devices or unix"),
        ({"A b": {"exec": "any"}}, "grants['A b']", "'A b' is not a name"),
        ({"t": {"ingress": "any"}}, "grants.t.ingress", LATER),
        ({"t": {"exce": "any"}}, "grants.t.exce", "unknown field; did you mean 'exec'?"),
        ({"t": "any"}, "grants.t", "expected a mapping, got 'any'"),
        (["t"], "grants", "expected a mapping, got a list"),
        (
            {"t": {"exec": {"allow": ["/a"], "deny": ["/a"]}}},
            "grants.t.exec.deny[0]",
            "is also allowed, by allow[0]: keep one",
        ),
        ({"t": {"egress": {"allow": [{}]}}}, "grants.t.egress.allow[0].to", "is missing"),
        (
            {f"g{n}": {"exec": "any"} for n in range(32)},
            "grants",
            "has 32 entries, the limit is 31",
        ),
    ],
)
def test_grants(grants: object, path: str, message: str) -> None:
    found = faults(whole(grants=grants))
    assert any(at == f"spec.{path}" and message in text for at, text in found), found


@pytest.mark.parametrize("field", ["dns", "limits", "errno", "programs"])
def test_a_field_of_a_later_version_is_told_from_an_unknown_one(field: str) -> None:
    assert faults(whole(**{field: {}})) == [(f"spec.{field}", LATER)]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("apiVersion", "lictor/v2", "'lictor/v2' is not 'lictor/v1'"),
        ("kind", "Grant", "'Grant' is not 'Policy'"),
        ("spec", None, "expected a mapping, got nothing"),
        ("status", {}, "unknown field (known: apiVersion, kind, metadata, spec)"),
    ],
)
def test_the_top(field: str, value: object, message: str) -> None:
    assert faults({**whole(), field: value}) == [(field, message)]


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a" * 64, "ä", "a\n", None, 5, False])
def test_names(name: object) -> None:
    [(path, message)] = faults({**whole(), "metadata": {"name": name}})
    assert path == "metadata.name"
    assert "is not a name" in message or "expected text" in message


def test_enforce_wants_every_section() -> None:
    document = whole()
    for section in ("egress", "ingress", "exec", "devices"):
        del document["spec"][section]
    message = "is missing: enforce mode wants every section: rules, any or none"
    assert faults(document) == [
        (f"spec.{section}", message) for section in ("devices", "egress", "exec", "ingress")
    ]


@pytest.mark.parametrize(
    ("section", "path", "message"),
    [
        (False, "", "expected any, none or a mapping of rules, got the boolean false"),
        ({}, ".allow", "is missing: write 'none' to allow nothing"),
        ({"allow": [{"from": "loopback"}]}, ".allow[0].from", "'loopback' needs no rule"),
        ({"allow": [{"from": "10.0.0.1/8"}]}, ".allow[0].from", "has host bits set"),
        ({"allow": [{"to": "10.0.0.0/8"}]}, ".allow[0].to", "unknown field"),
        ({"allow": [{"source": "10.0.0.0/8"}]}, ".allow[0].source", "unknown field"),
        ({"allow": [{"ports": [1]}]}, ".allow[0].from", "is missing"),
        ({"allow": [{"from": "::/0", "ports": []}]}, ".allow[0].ports", "is empty"),
    ],
)
def test_ingress(section: object, path: str, message: str) -> None:
    found = faults(whole(ingress=section))
    assert any(at == f"spec.ingress{path}" and message in text for at, text in found), found


def test_every_fault_is_reported_in_the_order_of_the_text_with_its_line() -> None:
    text = """\
apiVersion: lictor/v1
kind: Policy
metadata: {name: rl-sandbox}
spec:
  mode: enforce
  egress:
    allow:
      - {to: 10.0.0.0/33, ports: [0]}
      - {to: no}
  ingres: none
  exec: {allow: [/usr/**], deny: [ssh]}
  devices: none
"""
    with pytest.raises(PolicyError) as refusal:
        parse_policy(text, "a.yaml")
    assert refusal.value.name == "rl-sandbox"
    assert [(fault.path, fault.line) for fault in refusal.value.faults] == [
        ("spec.ingress", 4),
        ("spec.egress.allow[0].ports[0]", 8),
        ("spec.egress.allow[0].to", 8),
        ("spec.egress.allow[1].to", 9),
        ("spec.ingres", 10),
        ("spec.exec.deny[0]", 11),
    ]
    lines = str(refusal.value).splitlines()
    cause = "'10.0.0.0/33' is not a network: the longest prefix is /32"
    assert lines[2] == f"policy rl-sandbox: spec.egress.allow[0].to: {cause} (line 8)"
    cause = "unknown field; did you mean 'ingress'?"
    assert lines[4] == f"policy rl-sandbox: spec.ingres: {cause} (line 10)"
