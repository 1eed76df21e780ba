# SPDX-License-Identifier: Apache-2.0
"""`python -m controlplane`. Exit: 0 stopped, 1 failed, 2 wrong setting, 4 another runs."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
import sys
from pathlib import Path

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from loguru import logger

from controlplane.app import create_app
from controlplane.contract import supervision
from controlplane.contract.daemon import EXIT_FAILED, begin
from controlplane.listening import parse_listen, server_tls, start_site
from controlplane.settings import ControlPlaneSettings
from controlplane.storage.database import DatabaseRefused

# Long polls are sent home at once; what is left is a commit or two.
SHUTDOWN_SECONDS = 5.0


def main() -> int:
    """Read the settings, serve until SIGTERM or SIGINT."""
    settings = begin("control plane", ControlPlaneSettings, _place)
    logging.basicConfig(handlers=[ToLoguru()], level=logging.WARNING, force=True)
    try:
        asyncio.run(serve(settings))
    except (DatabaseRefused, OSError, ValueError) as error:
        logger.error("{}", error)
        return EXIT_FAILED
    return 0


def _place(settings: ControlPlaneSettings) -> Path:
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings.pid_file


class ToLoguru(logging.Handler):
    """What libraries log, one line each; bytes that are no HTTP are nobody's alarm."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info is not None else None
        level = "DEBUG" if isinstance(error, HttpProcessingError) else record.levelname
        cause = f": {error!r}" if error is not None else ""
        logger.log(level, "{}: {}{}", record.name, record.getMessage(), cause)


async def serve(settings: ControlPlaneSettings) -> None:
    """Serve on every address of the settings until a signal ends it."""
    tls = _tls(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    runner = web.AppRunner(create_app(settings), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        for address in parse_listen(settings.listen):
            await start_site(runner, address, tls)
            logger.info("listening on {}", address)
        supervision.settle()
        supervision.notify(supervision.READY)
        alive = asyncio.create_task(supervision.say_alive(), name="say alive")
        await stopping.wait()
        alive.cancel()
        supervision.notify(supervision.STOPPING)
    finally:
        await runner.cleanup()


def _tls(settings: ControlPlaneSettings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return server_tls(settings.tls_certificate, settings.tls_key)


if __name__ == "__main__":
    sys.exit(main())
