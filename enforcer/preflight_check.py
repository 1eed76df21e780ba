# SPDX-License-Identifier: Apache-2.0
"""One need of Lictor on one machine, and how a list of them is shown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass

_MARKS = {True: "ok", False: "MISSING", None: "note"}


@dataclass(frozen=True)
class Check:
    """What a need is, whether it is met, what was found, what is missing, how to mend it.

    ok: True, met; False, Lictor cannot enforce without it; None, optional and absent, or met with
    a reservation that `missing` states.
    """

    name: str
    ok: bool | None
    found: str
    missing: str = ""
    mend: str = ""


def passed(checks: Iterable[Check]) -> bool:
    """Whether nothing that Lictor cannot do without is missing."""
    return all(check.ok is not False for check in checks)


def as_data(checks: Iterable[Check]) -> list[dict[str, object]]:
    """For `lictor doctor --json`: the fields of Check, by name."""
    return [asdict(check) for check in checks]


def table(checks: Iterable[Check], width: int = 100) -> list[str]:
    """For a terminal: one line for each check, indented below it what is missing and the mend."""
    listed = list(checks)
    names = max((len(check.name) for check in listed), default=0)
    margin = " " * (names + 11)
    lines: list[str] = []
    for check in listed:
        head = f"{check.name:<{names}}  {_MARKS[check.ok]:<7}  "
        lines += _wrapped(check.found, head, margin, width)
        if check.missing:
            label = "missing: " if check.ok is False else "note: "
            lines += _wrapped(label + check.missing, margin, margin + " " * len(label), width)
        if check.mend:
            lines += _wrapped(f"mend: {check.mend}", margin, margin + "      ", width)
    return lines


def _wrapped(text: str, first: str, rest: str, width: int) -> list[str]:
    # Commands are copied from here: they are never broken inside a word.
    return textwrap.wrap(
        text or "-",
        width=max(width, len(first) + 40),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
