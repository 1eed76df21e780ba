# SPDX-License-Identifier: Apache-2.0
"""Tables that people can read and a terminal cannot be fooled by."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def printable(value: object) -> str:
    """One line without control characters: paths and names are an adversary's text."""
    text = "-" if value is None or value == "" else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Left-aligned columns; the last one is not padded."""
    lines = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join(cells).rstrip())


def print_json(value: Any) -> None:
    """Indented, for `--json` of commands that give one object."""
    json.dump(value, sys.stdout, indent=1)
    print()
