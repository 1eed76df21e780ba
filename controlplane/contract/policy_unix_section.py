# SPDX-License-Identifier: Apache-2.0
"""The unix section of a policy: unix sockets that are not the workload's own, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator
from pydantic.json_schema import JsonSchemaValue

from . import policy_values
from .policy_node import PolicyNode, RawFault
from .policy_sections import Document, Section, place_all, without_allow


class UnixRule(PolicyNode):
    """Sockets that may be reached: one name, or all below a folder (`/run/nscd/**`)."""

    later: ClassVar[frozenset[str]] = frozenset({"type", "programs", "owner"})
    shape: ClassVar[str] = "a socket's name"

    path: Annotated[str, BeforeValidator(policy_values.unix_pattern)]

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
    def match_bytes(self) -> bytes:
        """What a name must equal, or begin with where `is_prefix` (then it ends in a slash)."""
        return self.path.removesuffix("**").encode("utf-8")

    def covers(self, name: bytes) -> bool:
        """Whether the rule matches the name to which a socket was bound."""
        return name.startswith(self.match_bytes) if self.is_prefix else name == self.match_bytes

    def document(self) -> str:
        return self.path


class UnixSection(Section):
    """Which sockets of the host and of other workloads may be reached; the own ones are free."""

    later: ClassVar[frozenset[str]] = frozenset({"deny", "limits"})

    allow: tuple[UnixRule, ...] = ()

    @classmethod
    def cross_faults(cls, value: Mapping[str, object], /) -> Iterator[RawFault]:
        yield from without_allow(value)

    def rules_document(self) -> Document:
        return {"allow": [rule.document() for rule in self.allow]}

    def place(self, path: str) -> None:
        super().place(path)
        place_all(self.allow, f"{path}.allow")
