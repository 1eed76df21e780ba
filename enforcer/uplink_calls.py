# SPDX-License-Identifier: Apache-2.0
"""Reads the agent's tool calls: those begun since, and the ends of those that were open."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from controlplane.contract.records import ToolCall
from enforcer.uplink_state import CallPlace

LARGEST_ARGUMENTS = 4 << 20
"""Bytes of arguments in one batch: the control plane takes 16 MiB."""
PARAMETERS = 500
"""Values in one query; SQLite takes 999 at least."""

_COLUMNS = "number, id, episode, step, tool, arguments, workload, binding, started, ended, ending"


class CallReader:
    """The agent's database of this boot, opened for reading only, once it is there."""

    def __init__(self, path: Path, node: str, boot: str) -> None:
        self._path = path
        self._node = node
        self._boot = boot
        self._database: sqlite3.Connection | None = None
        self._opened_as = (0, False)
        self._nothing_new: tuple[int, CallPlace] | None = None

    def read(self, place: CallPlace, limit: int) -> tuple[list[ToolCall], CallPlace]:
        """Up to `limit` calls that have changed since `place`, and the place behind them.

        Raises OSError naming the database if it is there and cannot be read.
        """
        if place.boot != self._boot:
            place = CallPlace(self._boot)
        try:
            database = self._opened()
            if database is None:
                return [], place
            version = database.execute("PRAGMA data_version").fetchone()[0]
            if self._nothing_new == (version, place):
                return [], place
            ended = self._ended(database, place.open, limit)
            begun = self._begun(database, place.number, limit - len(ended))
        except (sqlite3.Error, ValueError) as error:
            self.close()
            raise OSError(f"{self._path}: {error}") from None
        if not ended and not begun:
            self._nothing_new = (version, place)
            return [], place
        closed = {call.number for call in ended}
        still_open = [number for number in place.open if number not in closed]
        still_open += [call.number for call in begun if call.ended is None]
        number = begun[-1].number if begun else place.number
        return ended + begun, CallPlace(self._boot, number, tuple(still_open))

    def close(self) -> None:
        """Close the database; the next read opens it anew."""
        if self._database is not None:
            self._database.close()
            self._database = None
        self._nothing_new = None

    def _opened(self) -> sqlite3.Connection | None:
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            self.close()
            return None
        # Without an agent there is no log beside the database, and where we may not write SQLite
        # opens it only as a file that nobody changes.
        alone = not self._path.with_name(f"{self._path.name}-wal").exists()
        if self._database is None or self._opened_as != (inode, alone):
            self.close()
            self._opened_as = (inode, alone)
            # In autocommit no read transaction stays open, which would keep the log from shrinking.
            uri = f"{self._path.absolute().as_uri()}?mode=ro" + ("&immutable=1" if alone else "")
            self._database = sqlite3.connect(uri, uri=True, isolation_level=None)
            self._database.row_factory = sqlite3.Row
        return self._database

    def _begun(self, database: sqlite3.Connection, after: int, limit: int) -> list[ToolCall]:
        query = f"SELECT {_COLUMNS} FROM calls WHERE number > ? ORDER BY number LIMIT ?"
        return self._calls(database.execute(query, (after, limit)))

    def _ended(
        self, database: sqlite3.Connection, numbers: Sequence[int], limit: int
    ) -> list[ToolCall]:
        for first in range(0, len(numbers), PARAMETERS):
            part = numbers[first : first + PARAMETERS]
            query = (
                f"SELECT {_COLUMNS} FROM calls WHERE ended IS NOT NULL"
                f" AND number IN ({','.join('?' * len(part))}) ORDER BY number LIMIT ?"
            )
            # The rest has its turn when these are sent.
            if calls := self._calls(database.execute(query, (*part, limit))):
                return calls
        return []

    def _calls(self, rows: sqlite3.Cursor) -> list[ToolCall]:
        calls: list[ToolCall] = []
        size = 0
        for row in rows:
            fields = dict(row)
            arguments = fields.pop("arguments")
            size += len(arguments or "")
            if calls and size > LARGEST_ARGUMENTS:
                break
            # Python writes what JSON has no form for, as the number that is none, in a way of its
            # own; the control plane takes it as text.
            said = None if arguments is None else json.loads(arguments, parse_constant=str)
            calls.append(ToolCall(node=self._node, boot=self._boot, arguments=said, **fields))
        return calls
