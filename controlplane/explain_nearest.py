# SPDX-License-Identifier: Apache-2.0
"""The rule that came nearest to allowing an attempt, and why it did not."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from controlplane.contract.policy import (
    DevicesSection,
    EgressSection,
    ExecSection,
    IngressSection,
    Policy,
    UnixSection,
)
from controlplane.contract.policy_sections import EgressRule, ExecRule, IngressRule, Section
from controlplane.contract.policy_values import EVERY_PORT, IPNetwork
from controlplane.correlate.acts import visible
from controlplane.explain_attempt import Attempt, Connection, Device, Peer, Program, section_of
from controlplane.explain_rules import (
    GpuNames,
    covers,
    grant_that_allows,
    holds_address,
    holds_port,
    holds_protocol,
    judge_section,
    scopes,
)


@dataclass(frozen=True)
class Nearest:
    """rule: the field path below `spec`; why: what kept it from allowing the attempt."""

    rule: str
    why: str


def nearest(
    policy: Policy, attempt: Attempt, grants: Collection[str], gpus: GpuNames | None
) -> Nearest | None:
    """None where no rule comes near, as where the section is `none`."""
    elsewhere = grant_that_allows(policy, attempt, grants, gpus)
    if elsewhere is not None:
        grant, rule = elsewhere
        return Nearest(rule, f"allows it to processes with the grant {grant}; this one had it not")
    candidates = [
        candidate
        for scope in scopes(policy, grants)
        for section in [scope.sections.get(section_of(attempt) or "")]
        if section is not None
        for candidate in _candidates(section, attempt)
    ]
    return max(candidates, key=lambda found: found[0])[1] if candidates else None


Ranked = tuple[tuple[int, ...], Nearest]


def _candidates(section: Section, attempt: Attempt) -> Iterator[Ranked]:
    """The section's allow rules with how near each comes; a higher rank is nearer."""
    if isinstance(section, (EgressSection, IngressSection)) and isinstance(attempt, Connection):
        for rule in section.allow:
            yield _connection_rank(rule, attempt), _connection_miss(rule, attempt)
    elif isinstance(section, ExecSection) and isinstance(attempt, Program):
        yield from _programs(section, attempt)
    elif isinstance(section, DevicesSection) and isinstance(attempt, Device):
        yield from _devices(section, attempt)
    elif isinstance(section, UnixSection) and isinstance(attempt, Peer):
        yield from _sockets(section, attempt)


def _connection_rank(rule: EgressRule | IngressRule, attempt: Connection) -> tuple[int, ...]:
    shared = -1 if rule.network is None else _shared_bits(rule.network, attempt.address)
    return (
        int(holds_address(rule, attempt)),
        shared,
        int(holds_protocol(rule, attempt)),
        int(holds_port(rule, attempt)),
    )


def _shared_bits(network: IPNetwork, address: IPv4Address | IPv6Address) -> int:
    """How many leading bits network and address have in common; -1 across IP versions."""
    if network.version != address.version:
        return -1
    differing = int(network.network_address) ^ int(address)
    return min(network.prefixlen, network.max_prefixlen - differing.bit_length())


def _connection_miss(rule: EgressRule | IngressRule, attempt: Connection) -> Nearest:
    if rule.network is None:
        why = (
            "holds only in a network namespace of the workload's own; this one has the host's"
            if attempt.is_loopback
            else f"{attempt.address} is not loopback"
        )
        return Nearest(rule.field_path, why)
    matched, missed = [], []
    for part, holds, miss in (
        ("address", holds_address(rule, attempt), _address_miss(rule.network, attempt)),
        (
            "protocol",
            holds_protocol(rule, attempt),
            f"protocol {attempt.protocol} is not {rule.protocol}",
        ),
        ("port", holds_port(rule, attempt), f"port {attempt.port} is not in {_ports(rule)}"),
    ):
        if holds:
            matched.append(part)
        else:
            missed.append(miss)
    texts = [f"{' and '.join(matched)} match{'es' if len(matched) == 1 else ''}"] if matched else []
    return Nearest(rule.field_path, ", ".join([*texts, *missed]))


def _address_miss(network: IPNetwork, attempt: Connection) -> str:
    if network.version != attempt.address.version:
        return f"{attempt.address} is IPv{attempt.address.version}, {network} is not"
    return f"{attempt.address} is not in {network}"


def _ports(rule: EgressRule | IngressRule) -> str:
    if rule.ports == EVERY_PORT:
        return "any"
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in rule.ports)


def _programs(section: ExecSection, attempt: Program) -> Iterator[Ranked]:
    decided = judge_section(section, attempt, None).rule
    for rule in section.allow:
        if covers(rule, attempt.path):
            why = f"matches too, but {decided} names more of the path, and the longest decides"
            yield (1, len(rule.match_bytes)), Nearest(rule.field_path, why)
            continue
        common = _common_folders(rule, attempt.path)
        if common:
            folder = visible("/" + b"/".join(common).decode("utf-8", "backslashreplace"))
            below = f"what is below {rule.base}" if rule.is_prefix else f"only {rule.base}"
            why = f"allows {below}; the two have {folder} in common"
            yield (0, len(common)), Nearest(rule.field_path, why)


def _common_folders(rule: ExecRule, path: bytes) -> list[bytes]:
    common = []
    ours, theirs = path.split(b"/")[1:-1], rule.base.encode("utf-8").split(b"/")[1:]
    for mine, other in zip(ours, theirs, strict=False):
        if mine != other:
            break
        common.append(mine)
    return common


def _sockets(section: UnixSection, attempt: Peer) -> Iterator[Ranked]:
    for rule in section.allow:
        folders = zip(rule.match_bytes.split(b"/"), attempt.name.split(b"/"), strict=False)
        common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], folders))
        # The root folder alone is nothing in common.
        if common > 1:
            yield (common,), Nearest(rule.field_path, f"allows {visible(rule.path)} and no other")


def _devices(section: DevicesSection, attempt: Device) -> Iterator[Ranked]:
    if section.kind != "rules":
        return
    if attempt.is_gpu:
        named = section.gpus
        text = named if isinstance(named, str) else ", ".join(map(str, named)) or "an empty list"
        number = f"{attempt.major}:{attempt.minor}"
        yield (2,), Nearest(section.gpus_path, f"is {text}; {number} is a GPU's and not among them")
        return
    for entry in section.allow:
        for rule in entry.rules:
            if rule.major == attempt.major:
                yield (
                    (int(rule.kind == attempt.kind),),
                    Nearest(entry.field_path, f"allows {rule}, and this is {attempt}"),
                )
