# SPDX-License-Identifier: Apache-2.0
"""Whether a policy's rules allow an attempt, and by which rule: the kernel's answer, from the text.

Sections hold in scopes: the base for every process, each grant for those that hold it. What one
scope allows is allowed. tests/unit/controlplane/test_explain_property.py holds this against the
compiler.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.contract.policy import (
    DevicesSection,
    EgressSection,
    ExecSection,
    IngressSection,
    Policy,
    UnixSection,
)
from controlplane.contract.policy_devices import NVIDIA_MAJOR, DeviceRule
from controlplane.contract.policy_sections import EgressRule, ExecRule, IngressRule, Section
from controlplane.explain_attempt import (
    Attempt,
    Connection,
    Crossing,
    Device,
    Peer,
    Program,
    section_of,
)

GpuNames = Mapping[tuple[int, int], tuple[int | str, ...]]
"""(major, minor) of a GPU's own nodes -> what a policy may call that GPU, the best name first.

Which number a GPU has differs from node to node, so only the node itself can say.
"""

# What every use of a GPU opens, and so comes with each GPU that a policy names: enforcer/gpu.py.
SHARED_GPU_DRIVERS = frozenset({"nvidiactl", "nvidia-modeset", "nvidia-uvm"})


@dataclass(frozen=True)
class Scope:
    """Sections that hold together. grant: None for the base."""

    grant: str | None
    sections: Mapping[str, Section]


@dataclass(frozen=True)
class Judgement:
    """rule: field path of what decided, None where nothing matches.

    condition: field path of a `to: loopback` that would allow it, which holds only in a network
    namespace of the workload's own. The event does not say in which one it was.
    """

    allowed: bool
    rule: str | None = None
    condition: str | None = None


def scopes(policy: Policy, grants: Collection[str]) -> Iterator[Scope]:
    """The base, then the grants of the policy that are named in `grants`."""
    yield Scope(None, policy.base_sections())
    for name, grant in policy.spec.grants.items():
        if name in grants:
            yield Scope(name, grant.sections())


def judge(
    policy: Policy, attempt: Attempt, grants: Collection[str], gpus: GpuNames | None = None
) -> Judgement:
    """What the rules say of an attempt by a process that holds `grants`."""
    if isinstance(attempt, Crossing):
        opened = policy.spec.guards.rule_of(attempt.guard)
        return Judgement(opened is not None, opened)
    denial = Judgement(False)
    for scope in scopes(policy, grants):
        section = scope.sections.get(section_of(attempt) or "")
        if section is None:
            continue
        found = judge_section(section, attempt, gpus)
        if found.allowed:
            return found
        denial = Judgement(False, denial.rule or found.rule, denial.condition or found.condition)
    return denial


def grant_that_allows(
    policy: Policy, attempt: Attempt, held: Collection[str], gpus: GpuNames | None
) -> tuple[str, str] | None:
    """(name, field path of the rule) of a grant that is not held and would allow the attempt."""
    for scope in scopes(policy, policy.spec.grants.keys() - set(held)):
        section = scope.sections.get(section_of(attempt) or "")
        if scope.grant is not None and section is not None:
            found = judge_section(section, attempt, gpus)
            if found.allowed and found.rule is not None:
                return scope.grant, found.rule
    return None


def judge_section(section: Section, attempt: Attempt, gpus: GpuNames | None) -> Judgement:
    """What one section says for itself."""
    if section.kind == "any":
        return Judgement(True, section.field_path)
    if isinstance(section, (EgressSection, IngressSection)) and isinstance(attempt, Connection):
        return _judge_connection(section, attempt)
    if isinstance(section, ExecSection) and isinstance(attempt, Program):
        if attempt.mapped and section.mappings == "any":
            return Judgement(True, section.mappings_path)
        return _judge_program(section, attempt)
    if isinstance(section, DevicesSection) and isinstance(attempt, Device):
        return _judge_device(section, attempt, gpus)
    if isinstance(section, UnixSection) and isinstance(attempt, Peer):
        return _judge_peer(section, attempt)
    return Judgement(False)


def _judge_connection(section: EgressSection | IngressSection, attempt: Connection) -> Judgement:
    condition = None
    for rule in section.allow:
        if not (holds_address(rule, attempt) and holds_protocol(rule, attempt)):
            continue
        if rule.network is None:
            condition = condition or rule.field_path
        elif holds_port(rule, attempt):
            return Judgement(True, rule.field_path)
    return Judgement(False, condition=condition)


def holds_address(rule: EgressRule | IngressRule, attempt: Connection) -> bool:
    if rule.network is None:
        return attempt.is_loopback
    return attempt.address.version == rule.network.version and attempt.address in rule.network


def holds_protocol(rule: EgressRule | IngressRule, attempt: Connection) -> bool:
    return rule.protocol in ("any", attempt.protocol)


def holds_port(rule: EgressRule | IngressRule, attempt: Connection) -> bool:
    return any(low <= attempt.port <= high for low, high in rule.ports)


def covers(rule: ExecRule, path: bytes) -> bool:
    """Does the rule match the path, whether or not a longer one decides?"""
    return path.startswith(rule.match_bytes) if rule.is_prefix else path == rule.match_bytes


def _judge_program(section: ExecSection, attempt: Program) -> Judgement:
    matching = [
        (len(rule.match_bytes) + (not rule.is_prefix), allowed, rule.field_path)
        for allowed, rules in ((True, section.allow), (False, section.deny))
        for rule in rules
        if covers(rule, attempt.path)
    ]
    if not matching:
        return Judgement(False)
    _, allowed, path = max(matching, key=lambda found: found[0])
    return Judgement(allowed, path)


def _judge_device(section: DevicesSection, attempt: Device, gpus: GpuNames | None) -> Judgement:
    for entry in section.allow:
        if any(covers_number(rule, attempt) for rule in entry.rules):
            return Judgement(True, entry.field_path)
    if attempt.is_gpu and _names_gpu(section, attempt, gpus or {}):
        return Judgement(True, section.gpus_path)
    return Judgement(False)


def _judge_peer(section: UnixSection, attempt: Peer) -> Judgement:
    matching = [rule for rule in section.allow if rule.covers(attempt.name)]
    if not matching:
        return Judgement(False)
    return Judgement(True, max(matching, key=lambda rule: len(rule.match_bytes)).field_path)


def covers_number(rule: DeviceRule, attempt: Device) -> bool:
    return (rule.kind, rule.major) == (attempt.kind, attempt.major) and (
        rule.minor is None or rule.minor == attempt.minor
    )


def _names_gpu(section: DevicesSection, attempt: Device, gpus: GpuNames) -> bool:
    if isinstance(section.gpus, str):
        return section.gpus == "all"
    if attempt.driver in SHARED_GPU_DRIVERS:
        return True
    names = gpus.get((attempt.major, attempt.minor), ())
    return any(name in section.gpus for name in names)


def is_gpu_itself(attempt: Device) -> bool:
    """/dev/nvidiaN, and not what all GPUs share."""
    return attempt.major == NVIDIA_MAJOR and attempt.driver not in SHARED_GPU_DRIVERS


def rule_values(policy: Policy) -> dict[str, Any]:
    """Plain form of every rule, and of every section, by field path below `spec`."""
    values: dict[str, Any] = {}
    for scope in scopes(policy, policy.spec.grants):
        for section in scope.sections.values():
            values[section.field_path] = section.document()
            if isinstance(section, DevicesSection):
                values[section.gpus_path] = section.rules_document()["gpus"]
            for listed in ("allow", "deny"):
                for rule in getattr(section, listed, ()):
                    values[rule.field_path] = rule.document()
    return values
