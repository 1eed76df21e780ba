# SPDX-License-Identifier: Apache-2.0
"""Policy version 1: what a workload may do. See docs/policies.md for the language.

`parse_policy` (YAML) and `parse_policy_object` (plain data, such as a JSON body) are the ways in;
both raise PolicyError with every fault, and nothing else for whatever input. A Policy is frozen and
normalised; `to_document` gives back plain data that parses to an equal Policy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationError

from . import policy_values
from .policy_device_section import DevicesSection
from .policy_document import Document, check_plain, read_document
from .policy_faults import Fault, Location, PolicyError, path_text, shown
from .policy_guards import Guards
from .policy_node import PolicyNode, RawFault
from .policy_sections import EgressSection, ExecSection, IngressSection, Section
from .policy_unix_section import UnixSection

__all__ = [
    "DevicesSection",
    "EgressSection",
    "ExecSection",
    "Fault",
    "Grant",
    "Guards",
    "IngressSection",
    "Metadata",
    "Policy",
    "PolicyError",
    "Selector",
    "Spec",
    "UnixSection",
    "parse_policy",
    "parse_policy_object",
    "policy_digest",
    "policy_schema",
]

API_VERSION = "lictor/v1"
MAXIMUM_GRANTS = 31
SECTIONS = ("egress", "ingress", "exec", "devices")

CgroupForm = Literal["subtree", "children", "tree"]


class Metadata(PolicyNode):
    later: ClassVar[frozenset[str]] = frozenset({"labels", "annotations", "author", "reason"})

    name: Annotated[str, BeforeValidator(policy_values.name)]
    description: Annotated[str, BeforeValidator(policy_values.text)] = ""


class Selector(PolicyNode):
    """Cgroups that the policy covers.

    form subtree (`/a/b`): that cgroup and all below it are one workload. children (`/a/b/*`): each
    direct child is a workload, with all below it. tree (`/a/b/**`): both; tasks directly in /a/b
    belong to workload /a/b.
    """

    later: ClassVar[frozenset[str]] = frozenset(
        {"container", "pod", "unit", "labels", "image", "namespace", "runtime", "name"}
    )

    cgroup: Annotated[str, BeforeValidator(policy_values.cgroup_pattern)]

    @property
    def path(self) -> str:
        """The named cgroup, below the root of the cgroup tree, without the form's ending."""
        return policy_values.cgroup_base(self.cgroup)

    @property
    def form(self) -> CgroupForm:
        if self.cgroup.endswith("/**"):
            return "tree"
        return "children" if self.cgroup.endswith("/*") else "subtree"


class Grant(PolicyNode):
    """Permissions beyond the base, for processes that were marked from outside.

    Each grant is judged by itself, and what the base or one held grant allows is allowed: a denial
    here is an exception from the same grant's rules and takes nothing from the base. So dropping a
    grant, as a tool call does, never permits more.
    """

    later: ClassVar[frozenset[str]] = frozenset({"ingress", "dns", "limits", "guards"})

    egress: EgressSection | None = None
    exec: ExecSection | None = None
    devices: DevicesSection | None = None
    unix: UnixSection | None = None

    @classmethod
    def cross_faults(cls, value: Mapping[str, object], /) -> Iterator[RawFault]:
        if not value.keys() & cls.model_fields.keys():
            yield (), "grants nothing: name egress, exec, devices or unix", value

    def sections(self) -> dict[str, Section]:
        named: dict[str, Section | None] = {
            "egress": self.egress, "exec": self.exec, "devices": self.devices, "unix": self.unix,
        }  # fmt: skip
        return {name: section for name, section in named.items() if section is not None}


class Spec(PolicyNode):
    later: ClassVar[frozenset[str]] = frozenset(
        {"limits", "dns", "errno", "programs", "audit", "names", "responses"}
    )

    mode: Literal["audit", "enforce"]
    select: tuple[Selector, ...] = ()
    egress: EgressSection = Field(default_factory=lambda: EgressSection.of("any"))
    ingress: IngressSection = Field(default_factory=lambda: IngressSection.of("any"))
    exec: ExecSection = Field(default_factory=lambda: ExecSection.of("any"))
    devices: DevicesSection = Field(default_factory=lambda: DevicesSection.of("any"))
    unix: UnixSection = Field(default_factory=lambda: UnixSection.of("none"))
    guards: Guards = Field(default_factory=Guards)
    grants: dict[str, Grant] = Field(default_factory=dict, max_length=MAXIMUM_GRANTS)

    @classmethod
    def expand(cls, value: object) -> object:
        if isinstance(value, Mapping) and value.get("mode") == "audit":
            return {"unix": "any", **value}
        return value

    @classmethod
    def cross_faults(cls, value: Mapping[str, object], /) -> Iterator[RawFault]:
        if value.get("mode") == "enforce":
            for name in SECTIONS:
                if name not in value:
                    message = "is missing: enforce mode wants every section: rules, any or none"
                    yield (name,), message, None
        grants = value.get("grants")
        for name in grants if isinstance(grants, Mapping) else ():
            try:
                policy_values.name(name)
            except ValueError as error:
                yield ("grants", name), str(error), name
        select = value.get("select")
        seen: dict[str, int] = {}
        for index, entry in enumerate(select if isinstance(select, list) else ()):
            cgroup = entry.get("cgroup") if isinstance(entry, Mapping) else None
            if isinstance(cgroup, str) and seen.setdefault(cgroup, index) != index:
                yield ("select", index, "cgroup"), f"is the same as select[{seen[cgroup]}]", cgroup


class Policy(PolicyNode):
    """A whole policy. In `field_path` its parts cite their place below `spec`."""

    apiVersion: Literal["lictor/v1"]  # noqa: N815 (the field's name in the language)
    kind: Literal["Policy"]
    metadata: Metadata
    spec: Spec

    @property
    def name(self) -> str:
        return self.metadata.name

    def model_post_init(self, _context: object, /) -> None:
        for name, section in self.base_sections().items():
            section.place(name)
        for name, grant in self.spec.grants.items():
            grant._field_path = f"grants.{name}"
            for part, section in grant.sections().items():
                section.place(f"grants.{name}.{part}")
        for index, selector in enumerate(self.spec.select):
            selector._field_path = f"select[{index}]"

    def base_sections(self) -> dict[str, Section]:
        """What every task of a workload gets, by section name."""
        return {
            "egress": self.spec.egress,
            "ingress": self.spec.ingress,
            "exec": self.spec.exec,
            "devices": self.spec.devices,
            "unix": self.spec.unix,
        }

    def to_document(self) -> dict[str, Any]:
        """Plain data in canonical form: every section written, every value normalised."""
        metadata: dict[str, Any] = {"name": self.name}
        if self.metadata.description:
            metadata["description"] = self.metadata.description
        spec: dict[str, Any] = {
            "mode": self.spec.mode,
            "select": [{"cgroup": selector.cgroup} for selector in self.spec.select],
            "egress": self.spec.egress.document(),
            "ingress": self.spec.ingress.document(),
            "exec": self.spec.exec.document(),
            "devices": self.spec.devices.document(),
            "unix": self.spec.unix.document(),
        }
        if self.spec.guards.allow:
            spec["guards"] = self.spec.guards.document()
        if self.spec.grants:
            spec["grants"] = {
                name: {part: section.document() for part, section in grant.sections().items()}
                for name, grant in self.spec.grants.items()
            }
        return {"apiVersion": API_VERSION, "kind": "Policy", "metadata": metadata, "spec": spec}


def parse_policy(text: str | bytes, source: str) -> Policy:
    """Parses a policy's YAML. source names where it came from, for the errors."""
    return _parse(read_document(text, source), source)


def parse_policy_object(value: object, source: str) -> Policy:
    """Parses a policy from plain data, as json.loads gives it."""
    document = Document(value)
    check_plain(document, source)
    return _parse(document, source)


def policy_digest(policy: Policy) -> str:
    """SHA-256, in hex, of the canonical form: equal for policies that mean and say the same."""
    canonical = json.dumps(policy.to_document(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def policy_schema() -> dict[str, Any]:
    """JSON Schema of the language, for editors. `parse_policy` alone decides what is valid."""
    return Policy.model_json_schema()


def _parse(document: Document, source: str) -> Policy:
    if not isinstance(document.value, dict):
        message = f"a policy is a mapping, got {shown(document.value)}"
        raise PolicyError(source, [Fault("", message, document.line_of(()))])
    faults = list(document.faults)
    policy = None
    try:
        policy = Policy.model_validate(document.value)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            location = _as_written(each["loc"], document.value)
            line = document.line_of(location)
            faults.append(Fault(path_text(location), each["msg"], line))
    if policy is not None and not faults:
        return policy
    faults.sort(key=lambda fault: (fault.line or 0, fault.path))
    raise PolicyError(source, faults, _readable_name(document.value))


def _as_written(location: Location, value: object) -> Location:
    """The location cut where a short form stands for what the model holds below it."""
    for depth, part in enumerate(location):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        else:
            return location[:depth]
    return location


def _readable_name(value: dict[str, object]) -> str | None:
    metadata = value.get("metadata")
    try:
        return policy_values.name(metadata.get("name") if isinstance(metadata, dict) else None)
    except ValueError:
        return None
