# SPDX-License-Identifier: Apache-2.0
"""Guards of a policy: what keeps a workload from acting on what is not its own.

All are closed; a policy opens them by name. What each is about: docs/policies.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from .policy_node import PolicyNode, RawFault

GuardName = Literal[
    "trace", "signal", "mount", "kernel", "network", "descriptors", "cgroups", "pins"
]


class Guards(PolicyNode):
    """`allow` names the guards that are open for every process of the workload."""

    later: ClassVar[frozenset[str]] = frozenset({"deny", "grants"})
    shape: ClassVar[str] = "a mapping with `allow`, a list of guards"

    allow: tuple[GuardName, ...] = ()

    @classmethod
    def cross_faults(cls, value: Mapping[str, object], /) -> Iterator[RawFault]:
        seen: dict[object, int] = {}
        names = value.get("allow")
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if isinstance(name, str) and seen.setdefault(name, index) != index:
                yield ("allow", index), f"is the same as allow[{seen[name]}]", name

    def rule_of(self, name: str) -> str | None:
        """The field path of the entry that opens a guard, None while it is closed."""
        if name not in self.allow:
            return None
        return f"guards.allow[{[*self.allow].index(name)}]"

    def document(self) -> dict[str, Any]:
        return {"allow": list(self.allow)}
