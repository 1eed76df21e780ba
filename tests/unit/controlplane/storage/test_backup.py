# SPDX-License-Identifier: Apache-2.0
"""A backup of a live database is one state of it, whole, in one file."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from controlplane.storage import incidents, ingest, policies
from controlplane.storage.backup import BackupFailed, backup
from tests.unit.controlplane.samples import BOOT, NODE, make_denied, make_event
from tests.unit.controlplane.storage.conftest import NOW, Storage


def test_the_copy_opens_and_has_what_was_committed(storage: Storage, tmp_path: Path) -> None:
    storage.ship([make_event(1), make_denied(2)])
    storage.write(policies.put, "base", "text", "someone", 1.0)
    target = tmp_path / "copies/copy.db"
    target.parent.mkdir()
    report = backup(storage.path, target)
    assert (report.target, report.schema) == (target, "0001")
    assert (report.events, report.incidents, report.bytes) == (2, 1, target.stat().st_size)
    assert [p.name for p in target.parent.iterdir()] == ["copy.db"]
    assert target.stat().st_mode & 0o777 == 0o600
    copy = Storage(target)
    assert copy.ids() == storage.ids()
    assert copy.read(incidents.query) == storage.read(incidents.query)
    assert copy.read(policies.heads) == storage.read(policies.heads)
    assert copy.ship([make_event(1), make_event(3)]).accepted == 1
    copy.close()


def test_a_copy_that_is_made_while_batches_come_has_whole_batches(
    storage: Storage, tmp_path: Path
) -> None:
    size, batches = 50, 40

    async def ship_all() -> None:
        for number in range(batches):
            first = 1 + number * size
            batch = [make_denied(n) for n in range(first, first + size)]
            async with storage.database.writing() as connection:
                await ingest.batch(connection, NODE, BOOT, batch, [], 0, NOW)

    async def copy_meanwhile() -> list[Path]:
        made: list[Path] = []
        for number in range(5):
            target = tmp_path / f"copy-{number}.db"
            await asyncio.to_thread(backup, storage.path, target)
            made.append(target)
        return made

    async def both() -> list[Path]:
        shipping = asyncio.create_task(ship_all())
        made = await copy_meanwhile()
        await shipping
        return made

    counts: list[int] = []
    for target in storage.run(both()):
        raw = sqlite3.connect(target)
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (count,) = raw.execute("SELECT count(*) FROM events").fetchone()
        rows = raw.execute("SELECT stored FROM streams").fetchall()
        bodies = raw.execute("SELECT json_extract(body, '$.denied') FROM incidents").fetchall()
        raw.close()
        assert count % size == 0
        assert rows == bodies == ([(count,)] if count else [])
        counts.append(count)
    assert counts == sorted(counts)
    assert storage.read(incidents.query)[0].denied == size * batches


def test_a_file_that_exists_is_not_replaced(storage: Storage, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("precious")
    with pytest.raises(BackupFailed, match=rf"^backup {target}: exists already$"):
        backup(storage.path, target)
    assert target.read_text() == "precious"


def test_what_an_interrupted_backup_left_is_no_obstacle(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "copy.db.partial").write_text("half")
    backup(storage.path, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db.partial").exists()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "does not exist"),
        (b"my notes " * 1000, "file is not a database"),
        (b"", "no such table: alembic_version"),
    ],
)
def test_a_source_that_is_no_database_is_named(
    tmp_path: Path, content: bytes | None, cause: str
) -> None:
    source, target = tmp_path / "source.db", tmp_path / "copy.db"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(BackupFailed, match=rf"^backup {target}: database {source}:? {cause}"):
        backup(source, target)
    assert not target.exists()
    assert not (tmp_path / "copy.db.partial").exists()


def test_a_folder_that_does_not_exist_is_named(storage: Storage, tmp_path: Path) -> None:
    target = tmp_path / "missing/copy.db"
    with pytest.raises(BackupFailed, match=rf"^backup {target}: No such file or directory$"):
        backup(storage.path, target)
