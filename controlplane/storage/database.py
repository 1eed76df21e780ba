# SPDX-License-Identifier: Apache-2.0
"""The database: opened, migrated, and lent out as connections."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from controlplane.storage import dialect
from controlplane.storage.schema import SchemaRefused, migrate

DRIVER = "sqlite+aiosqlite"


class DatabaseRefused(Exception):
    """A database that cannot be used: `database NAME: cause`."""


class Database:
    """One database. Readers see a snapshot and wait for nobody; writers take turns."""

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self.name = name
        self._engine = engine
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, url_or_path: str | Path) -> Database:
        """Open it, make it if it is not there, and bring its schema up to date.

        Raises DatabaseRefused: no database, not to be opened, or of a newer version's schema.
        """
        url = database_url(url_or_path)
        name = url.database or str(url)
        try:
            _make_private(Path(name))
            engine = create_async_engine(url)
        except OSError as error:
            raise DatabaseRefused(f"database {name}: {error.strerror}") from None
        dialect.prepare(engine)
        database = cls(engine, name)
        try:
            async with database.writing() as connection:
                await connection.run_sync(migrate)
        except SchemaRefused as error:
            await database.close()
            raise DatabaseRefused(f"database {name}: {error}") from None
        except DatabaseError as error:
            await database.close()
            raise DatabaseRefused(f"database {name}: {error.orig}") from None
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Close every connection; nothing is lost by not doing so."""
        await self._engine.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one state of the database, whatever is written meanwhile."""
        async with self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: durable when this ends, undone if it ends by an exception."""
        async with self._turn, self._engine.connect() as connection:
            await connection.execution_options(**{dialect.WRITING: True})
            async with connection.begin():
                yield connection

    async def answers(self) -> bool:
        """Whether a query comes back."""
        try:
            async with self.reading() as connection:
                await connection.exec_driver_sql("SELECT 1 FROM counters")
        except SQLAlchemyError:
            return False
        return True


def database_url(url_or_path: str | Path) -> URL:
    """The URL of a database that is given as a path or as a URL.

    Raises DatabaseRefused for a kind of database that this version has no driver for.
    """
    if isinstance(url_or_path, Path) or "://" not in url_or_path:
        return URL.create(DRIVER, database=str(url_or_path))
    url = make_url(url_or_path)
    if url.get_backend_name() != "sqlite":
        raise DatabaseRefused(
            f"database {url.render_as_string()}: {url.get_backend_name()} is not supported;"
            " give a path for SQLite"
        )
    return url.set(drivername=DRIVER)


def _make_private(path: Path) -> None:
    """Tool calls' arguments are secrets: the file, and SQLite's files beside it, are ours alone."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
