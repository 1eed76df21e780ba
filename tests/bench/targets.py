# SPDX-License-Identifier: Apache-2.0
"""The design's numbers, and whether a run's figures keep within them.

`counts[state][place][kind]` are hookbench's rows as tests/bench/guest.py gives them. What a
state adds is always against nothing loaded in the same cgroup.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

Counts = dict[str, dict[str, dict[str, dict[str, int]]]]

CONNECT = ("connect_udp", "connect_tcp")
SEND = ("send_tcp", "send_udp")
# 2 s of a core at 3 GHz that completes one instruction a cycle; most do better.
LOADER_INSTRUCTIONS = 6_000_000_000
AGENT_KIB = 48 * 1024


@dataclass(frozen=True)
class Limit:
    """What Lictor may add to each of `kinds` in a place, in instructions."""

    what: str
    place: str
    kinds: tuple[str, ...]
    most: int


LIMITS = (
    Limit("connect, outside any workload", "outside", CONNECT, 300),
    Limit("open a regular file, outside any workload", "outside", ("open_file",), 215),
    Limit("fork and wait, outside any workload", "outside", ("fork",), 700),
    Limit("send on an established connection, outside any workload", "outside", SEND, 20),
    Limit("connect, inside and allowed", "inside", CONNECT, 600),
    Limit("exec, inside and allowed", "inside", ("exec",), 9_000),
    Limit("open a regular file, inside", "inside", ("open_file",), 260),
    Limit("fork and wait, inside", "inside", ("fork",), 6_000),
)


@dataclass(frozen=True)
class Finding:
    """One number of the design: the limit, what was measured, in which unit."""

    what: str
    unit: str
    limit: int
    measured: int

    @property
    def holds(self) -> bool:
        """Whether the number is kept."""
        return self.measured <= self.limit

    def to_json(self) -> dict[str, Any]:
        """All of it, as hooks.json has it."""
        return {**asdict(self), "holds": self.holds}


def added(counts: Counts, state: str, place: str, kind: str) -> int:
    """Instructions that `state` adds to an attempt."""
    return counts[state][place][kind]["median"] - counts["none"][place][kind]["median"]


def all_added(counts: Counts) -> Counts:
    """`added` of every kind, in the shape of the counts themselves."""
    return {
        state: {
            place: {kind: {"added": added(counts, state, place, kind)} for kind in rows}
            for place, rows in places.items()
        }
        for state, places in counts.items()
        if state != "none"
    }


def findings(raw: dict[str, Any]) -> list[Finding]:
    """Every number of the design that this benchmark can tell; the worst kind counts."""
    counts = raw["counts"]
    found = [
        Finding(
            limit.what,
            "instructions added",
            limit.most,
            max(added(counts, "lictor", limit.place, kind) for kind in limit.kinds),
        )
        for limit in LIMITS
    ]
    found.append(
        Finding(
            "loader, from nothing to enforcing",
            "instructions; 2 s at 3 GHz and one a cycle",
            LOADER_INSTRUCTIONS,
            raw["loader"]["instructions"],
        )
    )
    agent = raw["agent"]
    events = f"agent, resident memory after {agent['events']:,} events"
    found.append(Finding(events, "KiB", AGENT_KIB, agent["after_events"]["VmRSS"]))
    return found


@dataclass(frozen=True)
class Repetition:
    """How the second run in each state agrees with the first."""

    cases: int
    same: int
    worst: str
    worst_difference: int
    worst_percent: float

    @classmethod
    def of(cls, counts: Counts) -> Repetition:
        """Compare every median with the one that the second run gave."""
        rows = {
            f"{kind}, {state}, {place}": row
            for state, places in counts.items()
            for place, kinds in places.items()
            for kind, row in kinds.items()
        }
        differences = {name: abs(row["median"] - row["again"]) for name, row in rows.items()}
        worst = max(rows, key=lambda name: differences[name] / rows[name]["median"])
        return cls(
            cases=len(rows),
            same=sum(not difference for difference in differences.values()),
            worst=worst,
            worst_difference=differences[worst],
            worst_percent=round(100 * differences[worst] / rows[worst]["median"], 2),
        )
