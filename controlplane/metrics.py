# SPDX-License-Identifier: Apache-2.0
"""Counts of the control plane in Prometheus' text form; docs/api.md explains each.

A registry of its own per application: two applications in one process do not mix. No label
holds what a client chose (a path, a name), so that nobody makes series at will; a node's name is
an operator's choice.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
# A long poll lasts up to 60 s; what is stored should take milliseconds.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 70)


class Metrics:
    """All metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "lictor_api_requests",
            "Requests answered",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "lictor_api_request_seconds",
            "Time from a request's head to its answer, long polls included",
            ("method", "route"),
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.refused_credentials = Counter(
            "lictor_api_refused_credentials",
            "Requests with no token, or with one that is unknown, revoked or expired",
            registry=self.registry,
        )
        self.waiting = Gauge(
            "lictor_api_waiting", "Requests that wait for a change now", registry=self.registry
        )
        self.events = Counter(
            "lictor_ingest_events", "Events taken in and stored", registry=self.registry
        )
        self.duplicates = Counter(
            "lictor_ingest_duplicates",
            "Events sent again that were stored already",
            registry=self.registry,
        )
        self.dropped = Gauge(
            "lictor_nodes_spool_dropped",
            "Events that went from the nodes' spools for room, as the nodes say",
            registry=self.registry,
        )
        self.policy_failures = Counter(
            "lictor_policy_failures",
            "Revisions that a node refused",
            registry=self.registry,
        )
        self.removed = Counter(
            "lictor_retention_removed",
            "What went by age or for room",
            ("kind",),
            registry=self.registry,
        )
        self.nodes = Gauge(
            "lictor_nodes",
            "Nodes by whether they reported lately and enforce",
            ("live", "enforcing"),
            registry=self.registry,
        )
        self.node_enforcing = Gauge(
            "lictor_node_enforcing",
            "1 if the node reported lately that it enforces, else 0",
            ("node",),
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Everything in Prometheus' text form."""
        return bytes(generate_latest(self.registry))
