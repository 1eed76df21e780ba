# SPDX-License-Identifier: Apache-2.0
"""The tables. A change here needs a migration; a test compares the two.

Times are unix seconds. `received` and `updated` are by this machine's clock, all else by the
clock of who sent it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine.interfaces import Dialect

from controlplane.storage.plain import column_text

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


class PlainText(TypeDecorator[str]):
    """Text that any program or person may have chosen; see `plain.column_text`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """For values that are stored and those that are looked for alike."""
        return None if value is None else column_text(value)


RowNumber = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only in a column that is called INTEGER."""

# --- policies ---------------------------------------------------------------

counters = Table(
    "counters",
    metadata,
    Column("name", PlainText, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

policy_revisions = Table(
    "policy_revisions",
    metadata,
    Column("name", PlainText, primary_key=True),
    Column("revision", BigInteger, primary_key=True),
    Column("removed", Boolean, nullable=False),
    Column("text", PlainText, nullable=False),
    Column("author", PlainText, nullable=False),
    Column("created", Float, nullable=False),
)

# The highest number that any node ever told for a policy: one that was applied there by hand
# has taken numbers that we must not give again.
policy_numbers = Table(
    "policy_numbers",
    metadata,
    Column("name", PlainText, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)

# A node's word on a policy, by boot: a new kernel holds nothing of what an old one did.
# acked: highest revision read back; failed: highest refused, 0 if none since `acked`.
policy_acknowledgements = Table(
    "policy_acknowledgements",
    metadata,
    Column("node", PlainText, primary_key=True),
    Column("boot", PlainText, primary_key=True),
    Column("policy", PlainText, primary_key=True),
    Column("acked", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("message", PlainText, nullable=False),
    Column("updated", Float, nullable=False),
)

# --- nodes ------------------------------------------------------------------

nodes = Table(
    "nodes",
    metadata,
    Column("name", PlainText, primary_key=True),
    Column("boot", PlainText, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("report", PlainText, nullable=False),
)

# What became of a node's shipments. dropped: the most that it ever told.
shipments = Table(
    "shipments",
    metadata,
    Column("node", PlainText, primary_key=True),
    Column("accepted", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("updated", Float, nullable=False),
)

# --- events and calls -------------------------------------------------------

# One workload in one boot of one node: the source of one row of sequence numbers.
# highest: greatest sequence that came; reported: greatest that the node's kernel told of;
# stored, removed: events with a sequence that are here, or went by retention;
# floor: events up to here went by retention and are not taken again.
streams = Table(
    "streams",
    metadata,
    Column("id", RowNumber, primary_key=True),
    Column("node", PlainText, nullable=False),
    Column("boot", PlainText, nullable=False),
    Column("workload_id", BigInteger, nullable=False),
    Column("workload", PlainText, nullable=False),
    Column("highest", BigInteger, nullable=False),
    Column("reported", BigInteger, nullable=False),
    Column("stored", BigInteger, nullable=False),
    Column("removed", BigInteger, nullable=False),
    Column("floor", BigInteger, nullable=False),
    Column("unnumbered", BigInteger, nullable=False),
    Column("updated", Float, nullable=False),
    UniqueConstraint("node", "boot", "workload_id"),
    Index("ix_streams_workload_id", "workload_id"),
    Index("ix_streams_workload", "workload"),
    sqlite_autoincrement=True,
)

# key: the sequence; without one, minus one minus the event's hash. It makes ingest idempotent.
# call, episode: as the event's tag says, or from the call's record where the tag has but a number.
events = Table(
    "events",
    metadata,
    Column("position", RowNumber, primary_key=True),
    Column("stream", RowNumber, ForeignKey("streams.id"), nullable=False),
    Column("key", BigInteger, nullable=False),
    Column("time", Float, nullable=False),
    Column("received", Float, nullable=False),
    Column("kind", PlainText, nullable=False),
    Column("decision", PlainText, nullable=False),
    Column("policy", PlainText, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("rule", PlainText),
    Column("reason", PlainText, nullable=False),
    Column("attribution", PlainText, nullable=False),
    Column("call_number", BigInteger),
    Column("call", PlainText),
    Column("episode", PlainText),
    Column("pid", BigInteger, nullable=False),
    Column("start", BigInteger),
    Column("incident", PlainText),
    Column("body", PlainText, nullable=False),
    UniqueConstraint("stream", "key"),
    Index("ix_events_stream", "stream", "position"),
    sqlite_autoincrement=True,
)


def _partial(name: str, condition: str, *columns: str) -> Index:
    return Index(
        name,
        *(events.c[column] for column in columns),
        sqlite_where=text(condition),
        postgresql_where=text(condition),
    )


_partial("ix_events_call", "call IS NOT NULL", "call", "position")
_partial("ix_events_episode", "episode IS NOT NULL", "episode", "position")
_partial("ix_events_incident", "incident IS NOT NULL", "incident", "position")
_partial("ix_events_decision", "decision <> 'allowed'", "decision", "position")
# Events that wait for their call's record.
_partial("ix_events_unnamed", "call IS NULL AND call_number IS NOT NULL", "call_number")

# Events of an episode, counted as they came: also those that went by retention.
tallies = Table(
    "tallies",
    metadata,
    Column("episode", PlainText, primary_key=True),
    Column("stream", RowNumber, ForeignKey("streams.id"), primary_key=True),
    Column("decision", PlainText, primary_key=True),
    Column("events", BigInteger, nullable=False),
    Index("ix_tallies_stream", "stream"),
)

calls = Table(
    "calls",
    metadata,
    Column("node", PlainText, primary_key=True),
    Column("boot", PlainText, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("id", PlainText, nullable=False),
    Column("episode", PlainText),
    Column("step", BigInteger),
    Column("tool", PlainText),
    Column("arguments", PlainText, nullable=False),
    Column("workload", BigInteger, nullable=False),
    Column("binding", PlainText, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("ending", PlainText),
    Column("received", Float, nullable=False),
    Index("ix_calls_id", "id"),
    Index("ix_calls_episode", "episode"),
    Index("ix_calls_started", "started"),
    Index("ix_calls_received", "received"),
)

# --- incidents and episodes -------------------------------------------------

# body: what correlation needs to go on; the columns are what queries need.
incidents = Table(
    "incidents",
    metadata,
    Column("id", PlainText, primary_key=True),
    Column("node", PlainText, nullable=False),
    Column("boot", PlainText, nullable=False),
    Column("call_number", BigInteger),
    Column("episode", PlainText),
    Column("state", PlainText, nullable=False),
    Column("note", PlainText, nullable=False),
    Column("first", Float, nullable=False),
    Column("last", Float, nullable=False),
    Column("body", PlainText, nullable=False),
    Column("updated", Float, nullable=False),
    Index("ix_incidents_call", "node", "boot", "call_number"),
    Index("ix_incidents_episode", "episode"),
    Index("ix_incidents_state", "state", "last"),
    Index("ix_incidents_last", "last"),
    Index("ix_incidents_updated", "updated"),
)

episodes = Table(
    "episodes",
    metadata,
    Column("id", PlainText, primary_key=True),
    Column("state", PlainText, nullable=False),
    Column("created", Float, nullable=False),
    Column("closed", Float),
    Column("node", PlainText),
    Column("workload", PlainText),
    Column("labels", PlainText, nullable=False),
    Column("updated", Float, nullable=False),
    Index("ix_episodes_created", "created"),
    Index("ix_episodes_updated", "updated"),
)

# --- who may do what, and did -----------------------------------------------

tokens = Table(
    "tokens",
    metadata,
    Column("id", PlainText, primary_key=True),
    Column("name", PlainText, nullable=False),
    Column("role", PlainText, nullable=False),
    Column("node", PlainText),
    Column("digest", PlainText, nullable=False, unique=True),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
    Column("last_used", Float),
)

audit = Table(
    "audit",
    metadata,
    Column("position", RowNumber, primary_key=True),
    Column("time", Float, nullable=False),
    Column("actor", PlainText, nullable=False),
    Column("action", PlainText, nullable=False),
    Column("object", PlainText, nullable=False),
    Column("detail", PlainText, nullable=False),
    sqlite_autoincrement=True,
)
