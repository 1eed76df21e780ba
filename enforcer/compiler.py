# SPDX-License-Identifier: Apache-2.0
"""From a policy to map entries. Pure: no kernel, no files.

Each scope (the base, then each grant) is a bit. What the kernel finds for a path, an address
or a device says for which bits it is allowed, so that one lookup answers for every task.
How the kernel matches is said in bpf/shared.h.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from controlplane.contract.policy import (
    DevicesSection,
    EgressSection,
    ExecSection,
    IngressSection,
    Policy,
    Selector,
    UnixSection,
)
from controlplane.contract.policy_devices import DeviceRule
from controlplane.contract.policy_sections import NetworkRule
from controlplane.contract.policy_values import IPNetwork
from enforcer import abi
from enforcer.compiler_unix import unix_entries
from enforcer.gpu import Gpus

PROTOCOLS = {"any": 0, "tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
MODES = {"audit": abi.Mode.AUDIT, "enforce": abi.Mode.ENFORCE}
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")

ResolveGpus = Callable[[Gpus, str], Iterable[DeviceRule]]
"""(the policy's `gpus`, its field path) -> device numbers; ValueError names the field."""


class CompileError(ValueError):
    """A valid policy that does not fit the kernel's tables; str names policy, field and limit."""


@dataclass
class CompiledPolicy:
    """Everything to write for one revision. `rules[n]` is the field path of rule n."""

    ruleset: abi.Ruleset
    rules: list[str] = field(default_factory=list)
    destinations: list[tuple[abi.DestinationKey, abi.Destination]] = field(default_factory=list)
    paths: list[tuple[abi.PathKey, abi.PathVerdict]] = field(default_factory=list)
    unix_names: list[tuple[abi.UnixKey, abi.PathVerdict]] = field(default_factory=list)
    devices: list[tuple[abi.DeviceKey, abi.DeviceVerdict]] = field(default_factory=list)
    selectors: list[tuple[abi.SelectorKey, abi.Selector]] = field(default_factory=list)


@dataclass(frozen=True)
class _Scope:
    """One bit of the grant mask with the sections that hold for it."""

    bit: int
    egress: EgressSection | None
    exec: ExecSection | None
    devices: DevicesSection | None
    unix: UnixSection | None
    ingress: IngressSection | None = None


class _Rules:
    """Numbers the rules of a policy by field path."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, field_path: str) -> int:
        if field_path not in self._numbers:
            self._numbers[field_path] = len(self.paths)
            self.paths.append(field_path)
        return self._numbers[field_path]


def compile_policy(
    policy: Policy,
    *,
    slot: int,
    ruleset: int,
    revision: int,
    grants: Mapping[str, int],
    resolve_gpus: ResolveGpus,
) -> CompiledPolicy:
    """Compile `policy` for ruleset number `ruleset`.

    grants: grant name -> bit number (1 to 31), stable over revisions, because tasks hold bits.
    Raises CompileError where the policy exceeds a table, ValueError for GPUs that cannot be found.
    """
    spec = policy.spec
    scopes = [_Scope(abi.GRANT_BASE, spec.egress, spec.exec, spec.devices, spec.unix, spec.ingress)]
    for name, grant in spec.grants.items():
        bit = 1 << grants[name]
        scopes.append(_Scope(bit, grant.egress, grant.exec, grant.devices, grant.unix))
    rules = _Rules()
    head = abi.Ruleset(
        policy=slot, revision=revision, mode=MODES[spec.mode], error=1, loopback_rule=abi.NO_RULE,
        guards_open=sum(1 << abi.Guard[name.upper()] for name in spec.guards.allow),
    )  # fmt: skip
    for section in abi.Section:
        name = section.name.lower()
        head.any_rule[section] = abi.NO_RULE
        for scope in scopes:
            part = getattr(scope, name, None)
            if part is not None and part.kind == "any":
                head.any[section] |= scope.bit
                head.any_rule[section] = min(head.any_rule[section], rules.number(part.field_path))
    for scope in scopes:
        if scope.exec is not None and scope.exec.mappings == "any":
            head.mappings_any |= scope.bit
    compiled = CompiledPolicy(head)
    compiled.destinations = _destinations(policy.name, scopes, ruleset, rules, head)
    compiled.destinations += _sources(policy.name, spec.ingress, ruleset, rules)
    compiled.paths = _paths(scopes, ruleset, rules)
    sections = [(scope.bit, scope.unix) for scope in scopes]
    compiled.unix_names = unix_entries(sections, ruleset, rules.number)
    compiled.devices = _devices(scopes, ruleset, rules, resolve_gpus)
    compiled.selectors = [compile_selector(selector, slot) for selector in spec.select]
    compiled.rules = rules.paths
    if len(rules.paths) >= abi.NO_RULE:
        raise CompileError(f"policy {policy.name}: more than {abi.NO_RULE - 1} rules")
    return compiled


def compile_selector(selector: Selector, slot: int) -> tuple[abi.SelectorKey, abi.Selector]:
    """The selector as the kernel matches it when a cgroup is made."""
    match selector.form:
        case "subtree":
            text, flags = selector.path.encode() + b"\0", abi.SelectorFlag.SELF
        case "tree":
            text = selector.path.encode() + b"\0"
            flags = abi.SelectorFlag.SELF | abi.SelectorFlag.CHILDREN
        case _:  # children
            text, flags = selector.path.encode() + b"/", abi.SelectorFlag.CHILD
    return (
        abi.SelectorKey(prefix_bits=8 * len(text), path=text),
        abi.Selector(policy=slot, flags=flags),
    )


def mapped_network(network: IPNetwork) -> tuple[bytes, int]:
    """(16 address bytes, prefix bits): IPv4 as the kernel programs see it, ::ffff:a.b.c.d."""
    packed = network.network_address.packed
    if network.version == 4:
        return MAPPED.network_address.packed[:12] + packed, 96 + network.prefixlen
    return packed, network.prefixlen


Networks = dict[IPNetwork, list[tuple[abi.PortRange, str]]]
"""Network -> port ranges that are allowed there, each with its rule's field path."""

Destinations = list[tuple[abi.DestinationKey, abi.Destination]]


def _destinations(
    name: str, scopes: list[_Scope], ruleset: int, rules: _Rules, head: abi.Ruleset
) -> Destinations:
    networks: Networks = {}
    for scope in scopes:
        for rule in scope.egress.allow if scope.egress else ():
            number = rules.number(rule.field_path)
            if rule.network is None:
                head.loopback |= scope.bit
                head.loopback_rule = min(head.loopback_rule, number)
            else:
                _allow(networks, rule.network, rule, number, scope.bit)
    return _network_entries(name, networks, ruleset)


def _sources(name: str, ingress: IngressSection, ruleset: int, rules: _Rules) -> Destinations:
    networks: Networks = {}
    for rule in ingress.allow:
        number = rules.number(rule.field_path)
        _allow(networks, rule.network, rule, number, abi.GRANT_BASE)
    return _network_entries(name, networks, ruleset | abi.INGRESS_RULES)


def _allow(
    networks: Networks, network: IPNetwork, rule: NetworkRule, number: int, bit: int
) -> None:
    for low, high in rule.ports:
        allowed = abi.PortRange(
            low=low, high=high, rule=number, protocol=PROTOCOLS[rule.protocol], grants=bit
        )
        networks.setdefault(network, []).append((allowed, rule.field_path))


def _network_entries(name: str, networks: Networks, ruleset: int) -> Destinations:
    # An IPv6 network around ::ffff:0:0/96 says nothing of IPv4: an entry of its own hides it.
    wide = any(n.version == 6 and n.prefixlen < 96 and MAPPED.subnet_of(n) for n in networks)
    if wide:
        networks.setdefault(ipaddress.IPv4Network("0.0.0.0/0"), [])
    entries = []
    for network in networks:
        found = [
            item
            for other, items in networks.items()
            if other.version == network.version and network.subnet_of(other)  # type: ignore[arg-type]
            for item in items
        ]
        if len(found) > abi.MAX_PORT_RANGES:
            raise CompileError(
                f"policy {name}: spec.{found[abi.MAX_PORT_RANGES][1]}.ports: {network} has"
                f" {len(found)} port ranges, its wider networks' included;"
                f" at most {abi.MAX_PORT_RANGES} fit: join ranges or drop a rule"
            )
        address, bits = mapped_network(network)
        value = abi.Destination(count=len(found))
        for index, (allowed, _) in enumerate(found):
            value.ranges[index] = allowed
        key = abi.DestinationKey(prefix_bits=32 + bits, ruleset=ruleset)
        key.address[:] = list(address)
        entries.append((key, value))
    return entries


def _paths(
    scopes: list[_Scope], ruleset: int, rules: _Rules
) -> list[tuple[abi.PathKey, abi.PathVerdict]]:
    by_scope: list[tuple[int, dict[bytes, tuple[bool, bool, int]]]] = []
    for scope in scopes:
        texts: dict[bytes, tuple[bool, bool, int]] = {}
        for allowed, listed in ((True, "allow"), (False, "deny")):
            for rule in getattr(scope.exec, listed) if scope.exec else ():
                text = rule.match_bytes + (b"" if rule.is_prefix else b"\0")
                changed = scope.exec is None or scope.exec.allows_changed(rule)
                texts[text] = (allowed, changed, rules.number(rule.field_path))
        by_scope.append((scope.bit, texts))
    entries = []
    for text in sorted({text for _, texts in by_scope for text in texts}):
        verdict = abi.PathVerdict(base_rule=abi.NO_RULE, grant_rule=abi.NO_RULE)
        for bit, texts in by_scope:
            winner = max((t for t in texts if text.startswith(t)), key=len, default=None)
            if winner is None:
                continue
            allowed, changed, number = texts[winner]
            if allowed:
                verdict.allow |= bit
            if allowed and not changed:
                verdict.unchanged |= bit
            if bit == abi.GRANT_BASE:
                verdict.base_rule = number
            elif allowed:
                verdict.grant_rule = min(verdict.grant_rule, number)
        key = abi.PathKey(prefix_bits=32 + 8 * len(text), ruleset=ruleset, path=text)
        entries.append((key, verdict))
    return entries


def _devices(
    scopes: list[_Scope], ruleset: int, rules: _Rules, resolve_gpus: ResolveGpus
) -> list[tuple[abi.DeviceKey, abi.DeviceVerdict]]:
    found: dict[tuple[int, int, int], abi.DeviceVerdict] = {}
    for scope in scopes:
        if scope.devices is None or scope.devices.kind != "rules":
            continue
        numbered = [(entry.field_path, entry.rules) for entry in scope.devices.allow]
        if scope.devices.gpus != "none":
            path = scope.devices.gpus_path
            numbered.append((path, tuple(resolve_gpus(scope.devices.gpus, path))))
        for field_path, devices in numbered:
            number = rules.number(field_path)
            for device in devices:
                minor = abi.ANY_MINOR if device.minor is None else device.minor
                place = (int(device.kind == "block"), device.major, minor)
                verdict = found.setdefault(
                    place, abi.DeviceVerdict(base_rule=abi.NO_RULE, grant_rule=abi.NO_RULE)
                )
                verdict.allow |= scope.bit
                if scope.bit == abi.GRANT_BASE:
                    verdict.base_rule = min(verdict.base_rule, number)
                else:
                    verdict.grant_rule = min(verdict.grant_rule, number)
    return [
        (abi.DeviceKey(ruleset=ruleset, block=block, major=major, minor=minor), verdict)
        for (block, major, minor), verdict in found.items()
    ]
