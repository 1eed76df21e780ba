# SPDX-License-Identifier: Apache-2.0
"""The report as a table for a terminal."""

from __future__ import annotations

import textwrap
from typing import Any

HEADINGS = ("tool call", "far side saw", "decision", "attribution", "held")
WIDTHS = (18, 44, 40, 11, 4)


def printable(text: str) -> str:
    """Text that cannot steer a terminal: control characters shown as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def decision_text(decisions: list[dict[str, Any]]) -> str:
    """The denials of a call in a few words; how many where they are many."""
    denials = [entry for entry in decisions if entry["decision"] == "denied"]
    if not denials:
        return "nothing denied"
    kinds = sorted({entry["kind"] for entry in denials})
    if len(denials) == 1:
        entry = denials[0]
        return f"denied: {entry['kind']} {entry['target']} ({entry['rule'] or entry['reason']})"
    first = denials[0]["target"]
    return f"denied: {'/'.join(kinds)} {first} and {len(denials) - 1} more"


def _row(cells: tuple[str, ...]) -> list[str]:
    columns = [
        textwrap.wrap(printable(cell), width) or [""]
        for cell, width in zip(cells, WIDTHS, strict=True)
    ]
    height = max(len(column) for column in columns)
    lines = []
    for index in range(height):
        parts = [
            (column[index] if index < len(column) else "").ljust(width)
            for column, width in zip(columns, WIDTHS, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return lines


def render(report: dict[str, Any]) -> str:
    """The whole table with a closing line; ``report`` as ``judge.build`` makes it."""
    rule = "  ".join("─" * width for width in WIDTHS)
    lines = [*_row(HEADINGS), rule]
    for step in report["steps"]:
        cells = (
            step["id"],
            step["observed"]["summary"],
            decision_text(step["decisions"]),
            step["attribution"],
            "yes" if step["held"] else "NO",
        )
        lines += _row(cells)
    lines += [rule, *closing(report)]
    return "\n".join(lines) + "\n"


def closing(report: dict[str, Any]) -> list[str]:
    """What the run as a whole says."""
    held = sum(step["held"] for step in report["steps"])
    attacks = f"{report['attacks_succeeded']} of {report['attacks']} attacks succeeded"
    steps = f"{held} of {len(report['steps'])} steps held"
    lines = [f"episode {report['episode']}, kernel {report['kernel']}: {steps}; {attacks}"]
    if report["mode"] == "lictor":
        events = report["events"]
        lines.append(f"{events['count']} events of the workload, {events['missing']} missing")
    if loose := report["denials_outside_calls"]:
        lines.append(f"denied outside any tool call: {decision_text(loose)}")
    if without := report.get("without_lictor"):
        lines.append(
            f"the same without Lictor: {without['attacks_succeeded']} of "
            f"{without['attacks']} attacks succeeded"
        )
    return lines
