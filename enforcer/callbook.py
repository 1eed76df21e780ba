# SPDX-License-Identifier: Apache-2.0
"""The node's tool calls: the number that the kernel's tag carries, and what it stands for.

Kept in SQLite under /run: a call's processes may outlive the agent, so a restarted agent must
still name them; none outlives the boot.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CACHE_SIZE = 4096
LARGEST_NUMBER = (1 << 63) - 1
"""What SQLite can hold."""

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL, episode TEXT, step INTEGER, tool TEXT, arguments TEXT,
    workload INTEGER NOT NULL, binding TEXT NOT NULL, announced_by INTEGER NOT NULL,
    held_since TEXT, started REAL NOT NULL, ended REAL, ending TEXT
);
CREATE TABLE IF NOT EXISTS workload_episodes (workload INTEGER PRIMARY KEY, episode TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Call:
    """One tool call as it was announced. workload: cgroup id; times: unix seconds."""

    number: int
    id: str
    episode: str | None
    step: int | None
    tool: str | None
    workload: int
    binding: str
    announced_by: int
    ended: float | None

    def reference(self) -> dict[str, Any]:
        """What events carry of it."""
        return {
            "number": self.number,
            "id": self.id,
            "episode": self.episode,
            "step": self.step,
            "tool": self.tool,
        }


class CallBook:
    """All calls of this boot; the ones that events name most recently stay in memory."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(SCHEMA)
        self._cache: OrderedDict[int, Call] = OrderedDict()

    def open_call(
        self,
        *,
        call_id: str,
        episode: str | None,
        step: int | None,
        tool: str | None,
        arguments: Any,
        workload: int,
        binding: str,
        announced_by: int,
        held_since: str | None = None,
    ) -> Call:
        """Record a call that begins; gives it its number.

        held_since: start time of the announcing process, if the call ends with it.
        """
        cursor = self._database.execute(
            "INSERT INTO calls (id, episode, step, tool, arguments, workload, binding,"
            " announced_by, held_since, started) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (call_id, episode, step, tool, json.dumps(arguments), workload, binding, announced_by,
             held_since, time.time()),
        )  # fmt: skip
        number = cursor.lastrowid
        assert number is not None
        return self._remember(
            Call(number, call_id, episode, step, tool, workload, binding, announced_by, None)
        )

    def close_call(self, number: int, ending: str) -> None:
        """Record the end of a call; `ending` is ended, disconnected, thread gone or failed."""
        self._database.execute(
            "UPDATE calls SET ended = ?, ending = ? WHERE number = ? AND ended IS NULL",
            (time.time(), ending, number),
        )
        self._cache.pop(number, None)

    def get(self, number: int) -> Call | None:
        """The call with this number."""
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        if not 0 < number <= LARGEST_NUMBER:
            return None
        row = self._database.execute(
            "SELECT number, id, episode, step, tool, workload, binding, announced_by, ended"
            " FROM calls WHERE number = ?",
            (number,),
        ).fetchone()
        return self._remember(Call(*row)) if row else None

    def held_calls(self) -> list[tuple[int, int, str]]:
        """(number, announcing process, its start time) of each open call that ends with it."""
        return self._database.execute(
            "SELECT number, announced_by, held_since FROM calls"
            " WHERE ended IS NULL AND held_since IS NOT NULL"
        ).fetchall()

    def bind_episode(self, workload: int, episode: str) -> None:
        """Say from outside which episode a workload runs."""
        self._database.execute(
            "INSERT OR REPLACE INTO workload_episodes VALUES (?, ?)", (workload, episode)
        )

    def bound_episode(self, workload: int) -> str | None:
        """The episode that the workload was bound to from outside."""
        row = self._database.execute(
            "SELECT episode FROM workload_episodes WHERE workload = ?", (workload,)
        ).fetchone()
        return str(row[0]) if row else None

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _remember(self, call: Call) -> Call:
        self._cache[call.number] = call
        while len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        return call
