# SPDX-License-Identifier: Apache-2.0
"""What handlers work with: one of each per application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from controlplane.changes import Changes
from controlplane.metrics import Metrics
from controlplane.storage.database import Database

Clock = Callable[[], float]
"""Gives the time in unix seconds."""


@dataclass(frozen=True)
class Services:
    """desired: told when what nodes shall have changes; rollout: when a node acknowledges."""

    database: Database
    metrics: Metrics
    clock: Clock
    desired: Changes = field(default_factory=Changes)
    rollout: Changes = field(default_factory=Changes)


SERVICES = web.AppKey("SERVICES", Services)
