# SPDX-License-Identifier: Apache-2.0
"""From the unix sections of a policy to entries of the map unix_names. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from controlplane.contract.policy_unix_section import UnixSection
from enforcer import abi

Entry = tuple[abi.UnixKey, abi.PathVerdict]


def unix_key(ruleset: int, text: bytes) -> abi.UnixKey:
    """The key of a name, its NUL included, or of what names begin with."""
    return abi.UnixKey(prefix_bits=32 + 8 * len(text), ruleset=ruleset, name=text)


def unix_entries(
    sections: Iterable[tuple[int, UnixSection | None]], ruleset: int, number: Callable[[str], int]
) -> list[Entry]:
    """sections: (bit of the grant mask, section); number: a rule's number by its field path."""
    by_scope: list[tuple[int, dict[bytes, int]]] = []
    for bit, section in sections:
        texts: dict[bytes, int] = {}
        for rule in section.allow if section else ():
            text = rule.match_bytes + (b"" if rule.is_prefix else b"\0")
            texts.setdefault(text, number(rule.field_path))
        by_scope.append((bit, texts))
    entries = []
    for text in sorted({text for _, texts in by_scope for text in texts}):
        verdict = abi.PathVerdict(base_rule=abi.NO_RULE, grant_rule=abi.NO_RULE)
        for bit, texts in by_scope:
            # The longest match is all that the kernel finds: it carries the shorter ones.
            winner = max((t for t in texts if text.startswith(t)), key=len, default=None)
            if winner is None:
                continue
            verdict.allow |= bit
            if bit == abi.GRANT_BASE:
                verdict.base_rule = texts[winner]
            else:
                verdict.grant_rule = min(verdict.grant_rule, texts[winner])
        entries.append((unix_key(ruleset, text), verdict))
    return entries
