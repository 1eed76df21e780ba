# SPDX-License-Identifier: Apache-2.0
"""The smallest change of a policy that allows one attempt and nothing else."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import yaml

from controlplane.contract import policy_devices, policy_values
from controlplane.contract.policy import ExecSection, Policy
from controlplane.correlate.acts import visible
from controlplane.explain_attempt import (
    Attempt,
    Connection,
    Crossing,
    Device,
    Peer,
    Program,
    Visit,
    section_of,
)
from controlplane.explain_reasons import ANY_ONLY, GUARD_WIDE, NOTHING_JUDGED
from controlplane.explain_rules import (
    SHARED_GPU_DRIVERS,
    GpuNames,
    grant_that_allows,
    is_gpu_itself,
    judge,
    judge_section,
    scopes,
)

DELETED = b" (deleted)"


@dataclass(frozen=True)
class Change:
    """One entry more or less in the base of a policy.

    field: from the top of the document, for example `spec.egress.allow`; of the entry itself
    (`spec.exec.deny[0]`) where it is to go. refusal: why a person has to decide, None where
    Lictor may do it when told to.
    """

    action: Literal["add", "remove"]
    field: str
    value: Any
    refusal: str | None = None

    @property
    def yaml(self) -> str:
        """The entry in its place, as a policy's file has it."""
        *parents, last = re.sub(r"\[\d+\]$", "", self.field).split(".")
        lines = ["  " * depth + f"{name}:" for depth, name in enumerate((*parents, last))]
        mark = "  # remove" if self.action == "remove" else ""
        lines.append("  " * (len(parents) + 1) + f"- {flow_text(self.value)}{mark}")
        return "\n".join(lines) + "\n"

    def document(self) -> dict[str, Any]:
        """For --json."""
        return {
            "action": self.action, "field": self.field, "value": self.value, "yaml": self.yaml,
            "automatic": self.refusal is None, "refusal": self.refusal,
        }  # fmt: skip


def flow_text(value: Any) -> str:
    """Plain data as YAML on one line."""
    text = yaml.safe_dump(
        [value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=1 << 20
    )
    return text.strip()[1:-1]


def change_for(
    policy: Policy | None,
    attempt: Attempt,
    grants: Collection[str],
    gpus: GpuNames | None = None,
) -> Change:
    """The change that makes `policy` allow the attempt. ValueError says why there is none.

    Without a policy, what its rules would need; a person then has to see whether it fits.
    """
    change = _entry(attempt, gpus)
    if policy is None:
        return _refused(change, "the policy is not at hand")
    elsewhere = grant_that_allows(policy, attempt, grants, gpus)
    if elsewhere is not None:
        grant, rule = elsewhere
        return _refused(
            change,
            f"spec.{rule} allows it to processes with the grant {grant}, and to no others: start"
            f" what needs it with `lictor run --grant {grant}`",
        )
    if isinstance(attempt, Connection):
        condition = judge(policy, attempt, grants, gpus).condition
        if condition is not None:
            return _refused(
                change,
                f"spec.{condition} allows loopback in a network namespace of the workload's own;"
                " with the host's, this address is a service of the host",
            )
    if isinstance(attempt, Program):
        return _beside_denials(change, policy, attempt, grants)
    return change


def _entry(attempt: Attempt, gpus: GpuNames | None) -> Change:
    match attempt:
        case Connection():
            return _destination(attempt)
        case Program():
            return Change("add", "spec.exec.allow", _path(attempt.path))
        case Peer():
            return Change("add", "spec.unix.allow", _socket(attempt.name))
        case Device() if attempt.is_gpu:
            return _gpu(attempt, gpus)
        case Device():
            return Change("add", "spec.devices.allow", _device(attempt))
        case Crossing():
            return Change("add", "spec.guards.allow", attempt.guard, GUARD_WIDE)
    raise ValueError(ANY_ONLY if section_of(attempt) == "egress" else NOTHING_JUDGED)


def _destination(attempt: Connection) -> Change:
    section, end = ("ingress", "from") if isinstance(attempt, Visit) else ("egress", "to")
    value: dict[str, Any] = {end: f"{attempt.address}/{attempt.address.max_prefixlen}"}
    refusal = None
    if attempt.protocol in ("tcp", "udp"):
        value["protocol"] = attempt.protocol
    else:
        refusal = f"rules cannot name {attempt.protocol}: one without `protocol` allows any"
    if attempt.port:
        value["ports"] = [attempt.port]
    else:
        refusal = "rules cannot name port 0: one without `ports` allows every port"
    return Change("add", f"spec.{section}.allow", value, refusal)


def _path(path: bytes) -> str:
    """The path as a rule for this very file."""
    shown = visible(path.decode("utf-8", "backslashreplace"))
    if path.endswith(DELETED):
        raise ValueError(f"{shown}: the file is deleted, and has no path that a rule could name")
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{shown}: the path is not UTF-8, and no rule can name it") from None
    # A file that is called `**` shall not become a rule for its whole folder.
    if text.endswith("/**"):
        raise ValueError(f"{shown}: no rule can name a file called '**'")
    return policy_values.exec_pattern(text)


def _socket(name: bytes) -> str:
    """The name as a rule for this very socket."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        shown = visible(name.decode("utf-8", "backslashreplace"))
        raise ValueError(f"{shown}: the name is not UTF-8, and no rule can name it") from None
    if text.endswith("/**"):
        raise ValueError(f"{visible(text)}: no rule can name a socket called '**'")
    return policy_values.unix_pattern(text)


def _device(attempt: Device) -> Any:
    number = policy_devices.DeviceRule(attempt.kind, attempt.major, attempt.minor)
    for name, covered in policy_devices.NAMED_DEVICES.items():
        if covered == (number,):
            return name
    return {attempt.kind: f"{attempt.major}:{attempt.minor}"}


def _gpu(attempt: Device, gpus: GpuNames | None) -> Change:
    field = "spec.devices.gpus"
    if attempt.driver in SHARED_GPU_DRIVERS:
        raise ValueError(
            f"{attempt} ({attempt.driver}) comes with any GPU that {field} names, and not alone"
        )
    names = (gpus or {}).get((attempt.major, attempt.minor))
    if names:
        return Change("add", field, names[0])
    if is_gpu_itself(attempt):
        index = policy_devices.gpu(attempt.minor)
        return Change(
            "add", field, index,
            f"which index GPU {attempt.minor} (/dev/nvidia{attempt.minor}) has is not known here:"
            " compare with `nvidia-smi -L`",
        )  # fmt: skip
    driver = attempt.driver or "a GPU driver"
    raise ValueError(f"{attempt} ({driver}) is not one GPU's: only `gpus: all` surely has it")


def _beside_denials(
    change: Change, policy: Policy, attempt: Program, grants: Collection[str]
) -> Change:
    """An explicit denial, in the base or in a held grant, is for a person to take back."""
    for scope, section, path in _denials(policy, attempt, grants):
        field = f"spec.{path}"
        denied = section.deny[int(path.rpartition("[")[2][:-1])]
        if scope is None and denied.path == change.value:
            return Change(
                "remove", field, denied.document(),
                f"{field} denies this very file; to allow it, take that rule out",
            )  # fmt: skip
        return _refused(
            change, f"{field} ({denied.path}) denies it, and what is denied by name stays so"
        )
    return change


def _denials(
    policy: Policy, attempt: Program, grants: Collection[str]
) -> Iterator[tuple[str | None, ExecSection, str]]:
    for scope in scopes(policy, grants):
        section = scope.sections.get("exec")
        if isinstance(section, ExecSection):
            found = judge_section(section, attempt, None)
            if not found.allowed and found.rule is not None:
                yield scope.grant, section, found.rule


def applied(policy: Policy, change: Change) -> dict[str, Any]:
    """The policy's document with an entry added."""
    document = policy.to_document()
    _, name, listed = change.field.split(".")
    section = document["spec"][name]
    if isinstance(section, str):
        section = document["spec"][name] = _no_rules(name)
    if section.get(listed) == "none":
        section[listed] = []
    section.setdefault(listed, []).append(change.value)
    return document


def _no_rules(name: str) -> dict[str, Any]:
    """Rules that allow what `none` does: nothing."""
    return {"allow": [], "gpus": "none"} if name == "devices" else {"allow": []}


def _refused(change: Change, why: str) -> Change:
    return replace(change, refusal=change.refusal or why)
