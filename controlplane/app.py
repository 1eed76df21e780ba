# SPDX-License-Identifier: Apache-2.0
"""The aiohttp application: routes, what they work with, and what runs beside them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

from aiohttp import web
from loguru import logger
from sqlalchemy.exc import SQLAlchemyError

from controlplane.metrics import Metrics
from controlplane.openapi import DOCUMENT, build_document
from controlplane.rest.serve import aiohttp_handler, answer_problems
from controlplane.rest.table import ROUTES
from controlplane.services import SERVICES, Clock, Services
from controlplane.settings import ControlPlaneSettings
from controlplane.storage import retention
from controlplane.storage.database import Database


@dataclass(frozen=True)
class Setup:
    """What the application was made with."""

    settings: ControlPlaneSettings
    clock: Clock


SETUP = web.AppKey("SETUP", Setup)

RETENTION_SECONDS = 60.0
SECONDS_OF_DAY = 86_400


def create_app(settings: ControlPlaneSettings, clock: Clock = time.time) -> web.Application:
    """The application; its database opens when it starts and closes when it ends."""
    app = web.Application(middlewares=[answer_problems])
    app[SETUP] = Setup(settings, clock)
    app[DOCUMENT] = build_document(ROUTES)
    for route in ROUTES:
        app.router.add_route(route.method, _pattern(route.path), aiohttp_handler(route))
    app.cleanup_ctx.append(_services)
    app.cleanup_ctx.append(_retention)
    app.on_response_prepare.append(_name_no_versions)
    app.on_shutdown.append(_send_waiting_home)
    return app


def _pattern(path: str) -> str:
    # Longer numbers fit no column; a revision that is no number is a path that does not exist.
    return path.replace("{revision}", "{revision:[0-9]{1,18}}")


async def _services(app: web.Application) -> AsyncIterator[None]:
    database = await Database.open(app[SETUP].settings.database)
    try:
        app[SERVICES] = Services(database, Metrics(), app[SETUP].clock)
        yield
    finally:
        await database.close()


async def _name_no_versions(_request: web.Request, response: web.StreamResponse) -> None:
    # Whoever is refused need not learn which releases to look up faults of.
    response.headers["Server"] = "lictor"


async def _send_waiting_home(app: web.Application) -> None:
    await app[SERVICES].desired.close()
    await app[SERVICES].rollout.close()


async def _retention(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(_retain_forever(app), name="retention")
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _retain_forever(app: web.Application) -> None:
    settings, services = app[SETUP].settings, app[SERVICES]
    while True:
        try:
            removed = await retention.run(
                services.database,
                now=services.clock(),
                seconds=settings.retention_days * SECONDS_OF_DAY,
                limit=settings.retention_bytes,
            )
            for kind, number in asdict(removed).items():
                services.metrics.removed.labels(kind).inc(number)
        except (SQLAlchemyError, OSError) as error:
            logger.error("retention: {}; tried again soon", error)
        await asyncio.sleep(RETENTION_SECONDS)
