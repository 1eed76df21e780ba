# SPDX-License-Identifier: Apache-2.0
"""Alembic runs this file: it migrates over the connection that `schema.migrate` hands in."""

from __future__ import annotations

from alembic import context

from controlplane.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
