# SPDX-License-Identifier: Apache-2.0
"""Sections of a policy: each is `any`, `none` or rules. Here: what
they share, egress, ingress, exec.

Parts name themselves by `field_path`. `document()` gives back the plain form that parses to the
same part: short where nothing is lost by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue

from . import policy_values
from .policy_faults import shown
from .policy_node import PolicyNode, RawFault
from .policy_values import EVERY_PORT, Destination, IPNetwork, PortRange

Document = dict[str, Any]


class Section(PolicyNode):
    """What all sections share. `kind` any: not restricted; none: nothing is allowed."""

    internal: ClassVar[frozenset[str]] = frozenset({"kind"})
    shape: ClassVar[str] = "any, none or a mapping of rules"

    kind: Literal["any", "none", "rules"]

    @classmethod
    def expand(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return {**value, "kind": "rules"}
        if isinstance(value, str):
            if value in ("any", "none"):
                return {"kind": value}
            raise ValueError(f"{shown(value)} is not {cls.shape}")
        return value

    @classmethod
    def of(cls, kind: Literal["any", "none"]) -> Self:
        return cls.model_validate(kind)

    def document(self) -> Document | str:
        return self.rules_document() if self.kind == "rules" else self.kind

    def rules_document(self) -> Document:
        raise NotImplementedError

    def place(self, path: str) -> None:
        """Tells the section and its rules where they stand."""
        self._field_path = path

    @classmethod
    def short_schema(cls) -> JsonSchemaValue:
        return {"enum": ["any", "none"]}


def place_all(parts: tuple[PolicyNode, ...], path: str) -> None:
    for index, part in enumerate(parts):
        part._field_path = f"{path}[{index}]"


def without_allow(value: Mapping[str, object], hint: str = "") -> Iterator[RawFault]:
    if "allow" not in value:
        yield ("allow",), f"is missing{hint}: write 'none' to allow nothing", None


def _not_empty(value: object) -> object:
    if isinstance(value, list) and not value:
        raise ValueError("is empty: leave it out to mean every port")
    return value


class NetworkRule(PolicyNode):
    """What rules about connections share. `ports` holds (low, high), sorted, both included."""

    later: ClassVar[frozenset[str]] = frozenset(
        {"programs", "name", "names", "dns", "unix", "limits", "cidr"}
    )

    protocol: Literal["any", "tcp", "udp"] = "any"
    ports: Annotated[
        tuple[
            Annotated[
                PortRange,
                PlainValidator(policy_values.port_range),
                WithJsonSchema({"type": ["integer", "string"]}),
            ],
            ...,
        ],
        BeforeValidator(_not_empty),
        AfterValidator(policy_values.merged),
        Field(json_schema_extra={"minItems": 1}),
    ] = EVERY_PORT

    def narrowing(self) -> Document:
        """The plain form of protocol and ports, where they narrow anything."""
        document: Document = {}
        if self.protocol != "any":
            document["protocol"] = self.protocol
        if self.ports != EVERY_PORT:
            document["ports"] = [
                low if low == high else f"{low}-{high}" for low, high in self.ports
            ]
        return document


class EgressRule(NetworkRule):
    """Destinations that may be reached, by their address and port."""

    to: Annotated[
        Destination,
        PlainValidator(policy_values.destination),
        WithJsonSchema({"type": "string", "description": "loopback, an address or a network"}),
    ]

    @classmethod
    def cross_faults(cls, value: Mapping[str, object], /) -> Iterator[RawFault]:
        # Loopback is decided before addresses are looked up, so it has no ports of its own yet.
        for name in ("protocol", "ports") if value.get("to") == "loopback" else ():
            if name in value:
                yield (name,), "is not built yet for loopback, which is allowed as a whole", None

    @property
    def loopback(self) -> bool:
        return self.to == "loopback"

    @property
    def network(self) -> IPNetwork | None:
        """The destinations, None for loopback."""
        return None if self.to == "loopback" else self.to

    def document(self) -> Document:
        return {"to": str(self.to), **self.narrowing()}


class IngressRule(NetworkRule):
    """Who may connect, by his address, to which of the workload's own ports."""

    source: Annotated[
        IPNetwork,
        Field(alias="from"),
        PlainValidator(policy_values.source),
        WithJsonSchema({"type": "string", "description": "an address or a network"}),
    ]

    @property
    def network(self) -> IPNetwork:
        return self.source

    def document(self) -> Document:
        return {"from": str(self.source), **self.narrowing()}


class EgressSection(Section):
    """Where the workload may connect and send. `none` denies loopback too."""

    later: ClassVar[frozenset[str]] = frozenset({"deny", "dns", "unix", "limits", "guards"})

    allow: tuple[EgressRule, ...] = ()

    @classmethod
    def cross_faults(cls, value: Mapping[str, object], /) -> Iterator[RawFault]:
        yield from without_allow(value)

    def rules_document(self) -> Document:
        return {"allow": [rule.document() for rule in self.allow]}

    def place(self, path: str) -> None:
        super().place(path)
        place_all(self.allow, f"{path}.allow")


class IngressSection(Section):
    """Who may begin to talk to the workload. Its own loopback and answers need no rule."""

    later: ClassVar[frozenset[str]] = frozenset({"deny", "unix", "limits"})

    allow: tuple[IngressRule, ...] = ()

    @classmethod
    def cross_faults(cls, value: Mapping[str, object], /) -> Iterator[RawFault]:
        yield from without_allow(value)

    def rules_document(self) -> Document:
        return {"allow": [rule.document() for rule in self.allow]}

    def place(self, path: str) -> None:
        super().place(path)
        place_all(self.allow, f"{path}.allow")


class ExecRule(PolicyNode):
    """Files that may, or may not, be started: one file, or all below a folder (`/usr/**`)."""

    later: ClassVar[frozenset[str]] = frozenset({"programs", "sha256", "owner"})
    shape: ClassVar[str] = "a path"

    path: Annotated[str, BeforeValidator(policy_values.exec_pattern)]
    changed: Literal["allow", "deny"] | None = None

    @classmethod
    def expand(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value

    @classmethod
    def short_schema(cls) -> JsonSchemaValue:
        return {"type": "string"}

    @property
    def is_prefix(self) -> bool:
        return self.path.endswith("/**")

    @property
    def base(self) -> str:
        """The path without `/**`; the root folder is `/`."""
        return self.path.removesuffix("/**") or "/"

    @property
    def match_bytes(self) -> bytes:
        """What a path must equal, or begin with where `is_prefix` (then it ends in a slash)."""
        return self.path.removesuffix("**").encode("utf-8")

    def document(self) -> Document | str:
        return {"path": self.path, "changed": self.changed} if self.changed else self.path


class ExecSection(Section):
    """Which files may be started, and mapped as executable memory. The longest match decides.

    changed deny: not if the file was changed since the workload was entered, where the rule itself
    does not say otherwise. mappings any: any file may be mapped.
    """

    later: ClassVar[frozenset[str]] = frozenset({"programs", "interpreters", "limits"})

    allow: tuple[ExecRule, ...] = ()
    deny: tuple[ExecRule, ...] = ()
    changed: Literal["allow", "deny"] = "allow"
    mappings: Literal["listed", "any"] = "listed"

    @classmethod
    def cross_faults(cls, value: Mapping[str, object], /) -> Iterator[RawFault]:
        yield from without_allow(value, " (a list of denials allows nothing)")
        allowed = {path: index for index, path in _written_paths(value.get("allow"))}
        for index, path in _written_paths(value.get("deny")):
            if path in allowed:
                message = f"{shown(path)} is also allowed, by allow[{allowed[path]}]: keep one"
                yield ("deny", index), message, path
        denials = value.get("deny")
        for index, rule in enumerate(denials if isinstance(denials, list) else ()):
            if isinstance(rule, Mapping) and "changed" in rule:
                message = "goes with what is allowed: what is denied is denied, changed or not"
                yield ("deny", index, "changed"), message, None

    def rules_document(self) -> Document:
        document: Document = {"allow": [rule.document() for rule in self.allow]}
        if self.deny:
            document["deny"] = [rule.document() for rule in self.deny]
        if self.changed != "allow":
            document["changed"] = self.changed
        if self.mappings != "listed":
            document["mappings"] = self.mappings
        return document

    def allows_changed(self, rule: ExecRule) -> bool:
        """Whether what `rule` allows may have changed since the workload was entered."""
        return (rule.changed or self.changed) == "allow"

    @property
    def mappings_path(self) -> str:
        """The field path of `mappings`."""
        return f"{self.field_path}.mappings"

    def place(self, path: str) -> None:
        super().place(path)
        place_all(self.allow, f"{path}.allow")
        place_all(self.deny, f"{path}.deny")


def _written_paths(entries: object) -> Iterator[tuple[int, str]]:
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        path = entry.get("path") if isinstance(entry, Mapping) else entry
        if isinstance(path, str):
            yield index, path
