# SPDX-License-Identifier: Apache-2.0
"""A copy of the live database: one state of it, checked, in one file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

PARTIAL = ".partial"


class BackupFailed(Exception):
    """A backup that was not made: `backup TARGET: cause`."""


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What the copy holds, as counted in the copy."""

    target: Path
    bytes: int
    schema: str
    events: int
    incidents: int


def backup(source: Path, target: Path) -> BackupReport:
    """Copy the database at `source`, which may be in use, to the new file `target`.

    What was committed before this began is in it; writers do not wait. It stands under its name
    only when it is whole, checked and on disk. Blocks; raises BackupFailed.
    """
    partial = target.with_name(target.name + PARTIAL)
    try:
        if not source.is_file():
            raise BackupFailed(f"backup {target}: database {source} does not exist")
        if target.exists():
            raise BackupFailed(f"backup {target}: exists already")
        partial.unlink(missing_ok=True)
        # It holds tool calls' arguments: nobody else's to read.
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            report = _copy(source, partial, target)
            _sync(partial)
            # Not `rename`, which would replace a file that has come meanwhile.
            os.link(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        _sync(target.parent)
    except sqlite3.Error as error:
        raise BackupFailed(f"backup {target}: database {source}: {error}") from None
    except OSError as error:
        raise BackupFailed(f"backup {target}: {error.strerror}") from None
    return report


def _copy(source: Path, partial: Path, target: Path) -> BackupReport:
    address = f"{source.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True)) as original,
        closing(sqlite3.connect(partial)) as copy,
    ):
        # In one step: a copy in several begins anew whenever someone writes in between.
        original.backup(copy, pages=-1)
        # Without WAL the copy is one file, and can be opened where nothing can be written.
        copy.execute("PRAGMA journal_mode = DELETE")
        return _check(copy, partial, target)


def _check(copy: sqlite3.Connection, partial: Path, target: Path) -> BackupReport:
    (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise BackupFailed(f"backup {target}: the copy is damaged: {verdict}")
    (schema,) = copy.execute("SELECT version_num FROM alembic_version").fetchone()
    (events,) = copy.execute("SELECT count(*) FROM events").fetchone()
    (incidents,) = copy.execute("SELECT count(*) FROM incidents").fetchone()
    return BackupReport(target, partial.stat().st_size, schema, events, incidents)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
