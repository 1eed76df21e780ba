# SPDX-License-Identifier: Apache-2.0
"""Runs a test's coroutine beside a served application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from controlplane.settings import ControlPlaneSettings
from tests.api.served import PATIENCE, Api

Work = Callable[[Api], Awaitable[None]]
Serve = Callable[[Work], None]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """`serve(work)` runs `work(api)`; called again in a test it finds the same database."""

    monkeypatch.setitem(ControlPlaneSettings.model_config, "env_file", None)

    def whole(work: Work) -> None:
        asyncio.run(asyncio.wait_for(Api(tmp_path).serve(work), 2 * PATIENCE))

    return whole
