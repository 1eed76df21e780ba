# SPDX-License-Identifier: Apache-2.0
"""A far side's record: what it saw, in order, kept in memory and as JSON lines on disk."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Record:
    """Entries appended by one far-side server and read by the judge.

    A position returned by ``mark`` stays valid: entries are never removed.
    """

    def __init__(self, path: Path) -> None:
        self._entries: list[Entry] = []
        self._changed = threading.Condition()
        self._path = path
        path.write_text("")

    def add(self, **fields: object) -> None:
        """Append one entry, with the wall clock's time."""
        entry: Entry = {"time": time.time(), **fields}
        with self._changed:
            self._entries.append(entry)
            with self._path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(entry) + "\n")
            self._changed.notify_all()

    def mark(self) -> int:
        """The position after the newest entry."""
        with self._changed:
            return len(self._entries)

    def since(self, position: int) -> list[Entry]:
        """The entries from ``position`` on."""
        with self._changed:
            return self._entries[position:]

    def wait(self, position: int, wanted: Callable[[list[Entry]], bool], timeout: float) -> bool:
        """Wait until the entries from ``position`` on satisfy ``wanted``; False on timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: wanted(self._entries[position:]), timeout)
