# SPDX-License-Identifier: Apache-2.0
"""Faults of a policy text: where they are, what they say, the error that carries all."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHOWN_CHARACTERS = 80

Location = tuple[int | str, ...]
"""Where a field lies: keys and list positions from the top."""


@dataclass(frozen=True)
class Fault:
    """One fault: the field's path (empty for the text as a whole), the cause, the line if known."""

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return text if self.line is None else f"{text} (line {self.line})"


class PolicyError(ValueError):
    """A policy was refused. `faults` holds every fault found; `str` gives one line for each.

    source: what the text was read from (a file name, an API path).
    name: the policy's name where the text gives a readable one, else None.
    """

    def __init__(self, source: str, faults: Iterable[Fault], name: str | None = None) -> None:
        self.source = source
        self.name = name
        self.faults = tuple(faults)
        subject = f"policy {name}" if name is not None else f"policy in {source}"
        super().__init__("\n".join(f"{subject}: {fault}" for fault in self.faults))


def path_text(location: Location) -> str:
    """`('spec', 'egress', 'allow', 3)` as `spec.egress.allow[3]`; odd keys are quoted."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{shown(part)}]"
    return text


def expected(what: str, value: object) -> ValueError:
    """The error for a value of the wrong type; pydantic gathers ValueError, never TypeError."""
    return ValueError(f"expected {what}, got {shown(value)}")


def shown(value: object) -> str:
    """The value in a message: its type in words, escaped and cut to a length fit for a terminal."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, str):
        return _cut(ascii(value) if not value.isprintable() else repr(value))
    if isinstance(value, int):
        if value.bit_length() > 64:  # Python refuses to print numbers of thousands of digits
            return "a number beyond 64 bits"
        return _cut(f"the number {value}")
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"a {type(value).__name__}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
