# SPDX-License-Identifier: Apache-2.0
"""The first schema.

A migration that was released is never edited: it says how databases out there came to be.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

row_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("position", row_number, nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "calls",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("episode", sa.Text()),
        sa.Column("step", sa.BigInteger()),
        sa.Column("tool", sa.Text()),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("workload", sa.BigInteger(), nullable=False),
        sa.Column("binding", sa.Text(), nullable=False),
        sa.Column("started", sa.Float(), nullable=False),
        sa.Column("ended", sa.Float()),
        sa.Column("ending", sa.Text()),
        sa.Column("received", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("node", "boot", "number", name="pk_calls"),
    )
    op.create_index("ix_calls_episode", "calls", ["episode"])
    op.create_index("ix_calls_id", "calls", ["id"])
    op.create_index("ix_calls_received", "calls", ["received"])
    op.create_index("ix_calls_started", "calls", ["started"])
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
    op.create_table(
        "episodes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("closed", sa.Float()),
        sa.Column("node", sa.Text()),
        sa.Column("workload", sa.Text()),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_episodes"),
    )
    op.create_index("ix_episodes_created", "episodes", ["created"])
    op.create_index("ix_episodes_updated", "episodes", ["updated"])
    op.create_table(
        "incidents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("call_number", sa.BigInteger()),
        sa.Column("episode", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("first", sa.Float(), nullable=False),
        sa.Column("last", sa.Float(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_incidents"),
    )
    op.create_index("ix_incidents_call", "incidents", ["node", "boot", "call_number"])
    op.create_index("ix_incidents_episode", "incidents", ["episode"])
    op.create_index("ix_incidents_last", "incidents", ["last"])
    op.create_index("ix_incidents_state", "incidents", ["state", "last"])
    op.create_index("ix_incidents_updated", "incidents", ["updated"])
    op.create_table(
        "nodes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_nodes"),
    )
    op.create_table(
        "policy_acknowledgements",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("acked", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("node", "boot", "policy", name="pk_policy_acknowledgements"),
    )
    op.create_table(
        "policy_numbers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_policy_numbers"),
    )
    op.create_table(
        "policy_revisions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", "revision", name="pk_policy_revisions"),
    )
    op.create_table(
        "shipments",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("node", name="pk_shipments"),
    )
    op.create_table(
        "streams",
        sa.Column("id", row_number, nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("workload_id", sa.BigInteger(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("highest", sa.BigInteger(), nullable=False),
        sa.Column("reported", sa.BigInteger(), nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("removed", sa.BigInteger(), nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=False),
        sa.Column("unnumbered", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_streams"),
        sa.UniqueConstraint("node", "boot", "workload_id", name="uq_streams_node_boot_workload_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_streams_workload", "streams", ["workload"])
    op.create_index("ix_streams_workload_id", "streams", ["workload_id"])
    op.create_table(
        "tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("node", sa.Text()),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float()),
        sa.Column("revoked", sa.Float()),
        sa.Column("last_used", sa.Float()),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("digest", name="uq_tokens_digest"),
    )
    op.create_table(
        "events",
        sa.Column("position", row_number, nullable=False),
        sa.Column("stream", row_number, nullable=False),
        sa.Column("key", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("received", sa.Float(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("rule", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attribution", sa.Text(), nullable=False),
        sa.Column("call_number", sa.BigInteger()),
        sa.Column("call", sa.Text()),
        sa.Column("episode", sa.Text()),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("start", sa.BigInteger()),
        sa.Column("incident", sa.Text()),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["stream"], ["streams.id"], name="fk_events_stream"),
        sa.PrimaryKeyConstraint("position", name="pk_events"),
        sa.UniqueConstraint("stream", "key", name="uq_events_stream_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tallies",
        sa.Column("episode", sa.Text(), nullable=False),
        sa.Column("stream", row_number, nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["stream"], ["streams.id"], name="fk_tallies_stream"),
        sa.PrimaryKeyConstraint("episode", "stream", "decision", name="pk_tallies"),
    )
    op.create_index("ix_tallies_stream", "tallies", ["stream"])
    op.create_index(
        "ix_events_call",
        "events",
        ["call", "position"],
        sqlite_where=sa.text("call IS NOT NULL"),
        postgresql_where=sa.text("call IS NOT NULL"),
    )
    op.create_index(
        "ix_events_decision",
        "events",
        ["decision", "position"],
        sqlite_where=sa.text("decision <> 'allowed'"),
        postgresql_where=sa.text("decision <> 'allowed'"),
    )
    op.create_index(
        "ix_events_episode",
        "events",
        ["episode", "position"],
        sqlite_where=sa.text("episode IS NOT NULL"),
        postgresql_where=sa.text("episode IS NOT NULL"),
    )
    op.create_index(
        "ix_events_incident",
        "events",
        ["incident", "position"],
        sqlite_where=sa.text("incident IS NOT NULL"),
        postgresql_where=sa.text("incident IS NOT NULL"),
    )
    op.create_index("ix_events_stream", "events", ["stream", "position"])
    op.create_index(
        "ix_events_unnamed",
        "events",
        ["call_number"],
        sqlite_where=sa.text("call IS NULL AND call_number IS NOT NULL"),
        postgresql_where=sa.text("call IS NULL AND call_number IS NOT NULL"),
    )
