# SPDX-License-Identifier: Apache-2.0
"""The schema's versions: brought up to date at each start, in one transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaRefused(Exception):
    """The schema is not one that this version can bring up to date."""


def migrate(connection: Connection) -> None:
    """Bring the schema to the newest version. Raises SchemaRefused for one from the future."""
    config = Config()
    # A single `%` would begin an interpolation.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    newest = scripts.get_current_head()
    current = current_version(connection)
    if current == newest:
        return
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise SchemaRefused(
            f"its schema {current} was made by a newer version of Lictor;"
            f" this one knows schemas up to {newest}"
        )
    command.upgrade(config, "head")


def current_version(connection: Connection) -> str | None:
    """The schema's version; None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()
