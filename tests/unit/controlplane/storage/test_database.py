# SPDX-License-Identifier: Apache-2.0
"""One database: opened or refused by name, migrated, written in turns, read without waiting."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.storage import policies
from controlplane.storage.database import Database, DatabaseRefused
from controlplane.storage.tables import metadata
from tests.unit.controlplane.storage.conftest import Storage


def open_and_close(where: str | Path) -> None:
    async def once() -> None:
        await (await Database.open(where)).close()

    asyncio.run(once())


async def pragma(connection: AsyncConnection, name: str) -> object:
    return (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()


def test_migrations_make_the_tables_that_the_code_uses(storage: Storage) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async def compared(connection: AsyncConnection) -> list[object]:
        return await connection.run_sync(differences)

    assert storage.read(compared) == []


@pytest.mark.parametrize("name", ["controlplane.db", "with space.db", "100%25.db", "ünï?#.db"])
def test_what_was_written_is_there_after_opening_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    first = Storage(path)
    first.write(policies.put, "base", "text", "someone", 1.0)
    first.close()
    second = Storage(path)
    assert [p.name for p in second.read(policies.heads)] == ["base"]
    second.close()
    assert {p.name for p in tmp_path.iterdir()} == {name}


def test_a_url_names_the_same_database_as_a_path(tmp_path: Path) -> None:
    path = tmp_path / "controlplane.db"
    open_and_close(f"sqlite:///{path}")
    assert path.exists()
    open_and_close(path)


def test_the_file_is_for_nobody_else(storage: Storage) -> None:
    storage.write(policies.put, "base", "text", "someone", 1.0)
    modes = {p.name: p.stat().st_mode & 0o777 for p in storage.path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_a_commit_is_on_disk_before_it_returns(storage: Storage) -> None:
    assert storage.read(pragma, "journal_mode") == "wal"
    assert storage.read(pragma, "synchronous") == 2
    assert storage.read(pragma, "foreign_keys") == 1


def test_a_schema_of_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "controlplane.db"
    open_and_close(path)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    before = path.read_bytes()
    message = (
        f"database {path}: its schema 9999 was made by a newer version of Lictor; "
        "this one knows schemas up to 0001"
    )
    with pytest.raises(DatabaseRefused) as refused:
        open_and_close(path)
    assert str(refused.value) == message
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes " * 1000)
    with pytest.raises(DatabaseRefused, match=rf"database {path}: file is not a database"):
        open_and_close(path)
    assert path.read_text().startswith("my notes")


@pytest.mark.parametrize(
    ("where", "cause"),
    [("missing/controlplane.db", "No such file or directory"), (".", "Is a directory")],
)
def test_a_place_that_cannot_hold_a_database_is_refused(
    tmp_path: Path, where: str, cause: str
) -> None:
    with pytest.raises(DatabaseRefused, match=cause):
        open_and_close(tmp_path / where)


def test_another_kind_of_database_is_refused_without_its_password() -> None:
    with pytest.raises(DatabaseRefused, match="postgresql is not supported") as refused:
        open_and_close("postgresql://lictor:secret@db/lictor")
    assert "secret" not in str(refused.value)


def test_two_that_open_an_empty_database_at_once_both_get_it(tmp_path: Path) -> None:
    async def both() -> None:
        path = tmp_path / "controlplane.db"
        for database in await asyncio.gather(Database.open(path), Database.open(path)):
            assert await database.answers()
            await database.close()

    asyncio.run(both())


def test_an_exception_undoes_the_whole_transaction(storage: Storage) -> None:
    async def fails(connection: AsyncConnection) -> None:
        await policies.put(connection, "base", "text", "someone", 1.0)
        raise KeyError("the reason")

    with pytest.raises(KeyError, match="the reason"):
        storage.write(fails)
    assert storage.read(policies.heads) == []
    assert storage.read(policies.version) == 0


def test_a_cancelled_writer_leaves_nothing_and_frees_its_turn(storage: Storage) -> None:
    async def scenario() -> None:
        started = asyncio.Event()

        async def hangs() -> None:
            async with storage.database.writing() as connection:
                await policies.put(connection, "base", "text", "someone", 1.0)
                started.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hangs())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5), storage.database.writing() as connection:
            assert await policies.heads(connection) == []

    storage.run(scenario())


def test_a_reader_sees_one_state_and_waits_for_no_writer(storage: Storage) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(5), storage.database.reading() as reader:
            assert await policies.heads(reader) == []
            async with storage.database.writing() as writer:
                await policies.put(writer, "base", "text", "someone", 1.0)
                assert await policies.heads(reader) == []
            assert await policies.heads(reader) == []
        async with storage.database.reading() as reader:
            assert len(await policies.heads(reader)) == 1

    storage.run(scenario())


def test_writers_take_turns(storage: Storage) -> None:
    async def add(number: int) -> None:
        async with storage.database.writing() as connection:
            await policies.put(connection, "base", f"text {number}", "someone", 1.0)

    async def all_at_once() -> None:
        await asyncio.gather(*(add(number) for number in range(30)))

    storage.run(all_at_once())
    revisions = [p.revision for p in storage.read(policies.history, "base")]
    assert revisions == list(range(30, 0, -1))
    assert storage.read(policies.version) == 30


def test_a_database_whose_tables_went_does_not_answer(storage: Storage) -> None:
    assert storage.run(storage.database.answers())
    with sqlite3.connect(storage.path) as raw:
        raw.execute("DROP TABLE counters")
    raw.close()
    assert not storage.run(storage.database.answers())
