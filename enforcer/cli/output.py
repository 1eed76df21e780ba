# SPDX-License-Identifier: Apache-2.0
"""Tables that people can read and a terminal cannot be fooled by."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel


def printable(value: object) -> str:
    """One line without control characters: paths and names are an adversary's text."""
    text = "-" if value is None or value == "" else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def local_time(seconds: float | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Unix seconds as this machine's date and time."""
    if seconds is None:
        return "-"
    try:
        return time.strftime(form, time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        # No year: a node's clock is what it is.
        return str(seconds)


def byte_count(number: int) -> str:
    """`0 B`, `1.5 KiB`, `12.0 GiB`."""
    size, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{number} B" if unit == "B" else f"{size:.1f} {unit}"


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


def print_model(model: BaseModel) -> None:
    """What the API gave, field for field."""
    print_json(model.model_dump(mode="json"))
