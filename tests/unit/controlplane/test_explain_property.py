# SPDX-License-Identifier: Apache-2.0
"""Over random policies and events, by the compiler and the kernel's way of looking up:

the rules judge as the kernel does; `allow` allows the event, and no other than the event.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from hypothesis import given, reject
from hypothesis import strategies as st

from controlplane.contract.event import exact_bytes
from controlplane.contract.policy import Policy, PolicyError, parse_policy_object
from controlplane.contract.policy_devices import DeviceRule
from controlplane.explain import allow
from controlplane.explain_attempt import attempt_of
from controlplane.explain_rules import GpuNames, judge
from enforcer import abi
from enforcer.compiler import compile_policy
from enforcer.gpu import Gpus
from tests.unit.controlplane.contract.documents import whole
from tests.unit.controlplane.events import connect, execution, mapping, opening, reaching
from tests.unit.enforcer.kernel_lookup import Answer, Lookup

Event = dict[str, Any]
BITS = {"one": 1, "two": 2}
NUMBERS = {"tcp": 6, "udp": 17, "mptcp": 6, "udplite": 136}
GPUS: GpuNames = {(195, 0): (0,), (195, 1): (1,)}
SHARED = {(195, 255)}


def resolve(gpus: Gpus, field_path: str) -> Iterable[DeviceRule]:
    """As the node does, with GPU n at minor n."""
    if gpus == "all":
        return [DeviceRule("char", 195, None)]
    if gpus == "none":
        return []
    chosen = [DeviceRule("char", 195, index) for index in gpus if isinstance(index, int)]
    return [*chosen, DeviceRule("char", 195, 255)]


def kernel(policy: Policy, event: Event) -> Answer:
    """What the kernel programs would find for the event's attempt."""
    compiled = compile_policy(
        policy, slot=3, ruleset=7, revision=12, grants=BITS, resolve_gpus=resolve
    )
    held = abi.GRANT_BASE | sum(1 << BITS[name] for name in event["tag"]["grants"])
    lookup, what = Lookup(compiled, held), event["object"]
    match event["kind"]:
        case "connect":
            return lookup.connect(what["address"], what["port"], NUMBERS[what["protocol"]])
        case "exec":
            return lookup.exec(exact_bytes(what, "path"))
        case "unix":
            return lookup.reach(exact_bytes(what, "path"))
        case "mapping":
            return lookup.map(exact_bytes(what, "path"))
    return lookup.open_device(what["major"], what["minor"], block=what["type"] == "block")


# Small worlds, so that rules and events meet. No loopback: the kernel's answer depends on more.
ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.1.1", "192.0.2.9", "2001:db8::1", "2001:db8::2"]
NETWORKS = [*ADDRESSES, "10.0.0.0/24", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::/0"]
PORTS = [1, 22, 80, 443, 65535]
PATHS = ["/usr/bin/git", "/usr/bin/ssh", "/usr/lib/git", "/opt/a", "/opt/a/b", "/opt/a/b/c", "/x"]
FOLDERS = ["/**", "/usr/**", "/usr/bin/**", "/opt/a/**", "/opt/a/b/**"]
NAMES = ["/run/a", "/run/a/b", "/run/ab", "@run", "@run/a"]
CHARS = [(1, 3), (10, 200), (10, 229), (136, 4), (7, 1)]

egress_rules = st.builds(
    lambda to, protocol, ports: {"to": to, "protocol": protocol, **ports},
    st.sampled_from(NETWORKS),
    st.sampled_from(["any", "tcp", "udp"]),
    st.just({})
    | st.builds(lambda p: {"ports": p}, st.lists(st.sampled_from([*PORTS, "20-100"]), min_size=1)),
)
entries = st.one_of(
    st.sampled_from(["standard", "fuse", "tun"]),
    st.builds(lambda n: {"char": f"{n[0]}:{n[1]}"}, st.sampled_from(CHARS)),
    st.sampled_from([{"char": "10:*"}, {"block": "7:*"}, {"block": "7:1"}]),
)
word = st.sampled_from(["any", "none"])
egress = word | st.builds(lambda rules: {"allow": rules}, st.lists(egress_rules, max_size=4))
paths = st.lists(st.sampled_from(PATHS + FOLDERS), max_size=4, unique=True)
execs = word | st.builds(
    lambda allow, deny, mappings: {"allow": allow, "deny": deny, "mappings": mappings},
    paths,
    paths,
    st.sampled_from(["listed", "any"]),
)
devices = word | st.builds(
    lambda allow, gpus: {"allow": allow, "gpus": gpus},
    st.lists(entries, max_size=3),
    st.sampled_from(["none", "all", [0], [1]]),
)
names = st.lists(st.sampled_from([*NAMES, "/run/**", "/run/a/**", "@run/**"]), max_size=4)
unix = word | st.builds(lambda names: {"allow": names}, names)
grants = st.fixed_dictionaries(
    {}, optional={"egress": egress, "exec": execs, "devices": devices, "unix": unix}
)
documents = st.builds(
    lambda egress, execs, devices, unix, grants: whole(
        egress=egress,
        exec=execs,
        devices=devices,
        unix=unix,
        grants={k: v for k, v in grants.items() if v},
    ),
    egress,
    execs,
    devices,
    unix,
    st.dictionaries(st.sampled_from(list(BITS)), grants),
)
events = st.one_of(
    st.builds(
        connect, st.sampled_from(ADDRESSES), st.sampled_from(PORTS), st.sampled_from(list(NUMBERS))
    ),
    st.builds(execution, st.sampled_from(PATHS)),
    st.builds(reaching, st.sampled_from(NAMES)),
    st.builds(mapping, st.sampled_from(PATHS)),
    st.builds(lambda n, t: opening(n[0], n[1], None, t), st.sampled_from(CHARS),
              st.sampled_from(["char", "block"])),
    st.builds(lambda minor: opening(195, minor, "nvidiactl" if minor == 255 else "nvidia"),
              st.sampled_from([0, 1, 255])),
)  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> tuple[Policy, Event, Event]:
    """A policy and two events whose tasks hold some of its grants."""
    try:
        policy = parse_policy_object(draw(documents), "drawn")
    except PolicyError:  # the same path allowed and denied
        reject()
    pair = [draw(events), draw(events)]
    for event in pair:
        names = st.lists(st.sampled_from(list(policy.spec.grants) or ["one"]), unique=True)
        event["tag"]["grants"] = draw(names) if policy.spec.grants else []
    return policy, pair[0], pair[1]


def same_attempt(one: Event, other: Event) -> bool:
    """A rule for a file lets it start and be mapped."""
    kinds = {event["kind"] for event in (one, other)}
    if kinds <= {"exec", "mapping"}:
        return exact_bytes(one["object"], "path") == exact_bytes(other["object"], "path")
    return attempt_of(one) == attempt_of(other)


@given(cases())
def test_rules_are_judged_as_the_kernel_does(case: tuple[Policy, Event, Event]) -> None:
    policy, event, _ = case
    found = judge(policy, attempt_of(event), event["tag"]["grants"], GPUS)
    assert found.allowed == kernel(policy, event).allowed


@given(cases())
def test_what_is_allowed_is_the_event_and_no_other(case: tuple[Policy, Event, Event]) -> None:
    policy, event, other = case
    try:
        changed = parse_policy_object(allow(policy, event, gpus=GPUS), "changed")
    except ValueError:
        reject()
    assert kernel(changed, event).allowed
    what = other["object"]
    # A GPU comes with the nodes that all GPUs share.
    shared = other["kind"] == "device" and (what["major"], what["minor"]) in SHARED
    if not same_attempt(event, other) and not (shared and event["object"].get("major") == 195):
        assert kernel(changed, other).allowed == kernel(policy, other).allowed
    # Nothing that was allowed is denied now.
    assert kernel(changed, other).allowed or not kernel(policy, other).allowed


@given(cases())
def test_allowing_twice_changes_nothing_more(case: tuple[Policy, Event, Event]) -> None:
    policy, event, _ = case
    try:
        once = allow(policy, event, gpus=GPUS)
    except ValueError:
        reject()
    assert allow(parse_policy_object(once, "once"), event, gpus=GPUS) == once


def test_the_world_has_the_protocols_that_the_compiler_knows() -> None:
    assert (NUMBERS["tcp"], NUMBERS["udp"]) == (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
