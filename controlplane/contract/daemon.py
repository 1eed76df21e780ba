# SPDX-License-Identifier: Apache-2.0
"""How every daemon of Lictor begins: its settings, its log, its place as the only one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from loguru import logger
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings

from controlplane.contract import supervision

EXIT_FAILED = 1
EXIT_SETTINGS = 2
EXIT_RUNNING = 4


class DaemonSettings(BaseSettings):
    """What every daemon has for a setting."""

    log_level: str = Field(default="INFO", pattern="^(TRACE|DEBUG|INFO|WARNING|ERROR)$")
    """Least severe level that is logged."""


Settings = TypeVar("Settings", bound=DaemonSettings)


def begin(name: str, model: type[Settings], place: Callable[[Settings], Path]) -> Settings:
    """Read the settings, open the log, hold the pid file's lock until this process ends.

    place: makes the daemon's folder and gives the pid file in it. What hinders is said on
    standard error, and raises SystemExit with the status above that it has.
    """
    logger.remove()
    try:
        settings = model()
    except ValidationError as error:
        for fault in setting_faults(error, str(model.model_config.get("env_prefix", ""))):
            print(f"lictor: {fault}", file=sys.stderr)
        raise SystemExit(EXIT_SETTINGS) from None
    # diagnose would write values of variables into the log, tokens among them.
    logger.add(sys.stderr, level=settings.log_level, diagnose=False, backtrace=False)
    try:
        pid_file = place(settings)
        try:
            supervision.run_alone(pid_file)
        except BlockingIOError:
            logger.error("{}: another {} runs", pid_file, name)
            raise SystemExit(EXIT_RUNNING) from None
    except OSError as error:
        logger.error("{}", error)
        raise SystemExit(EXIT_FAILED) from None
    return settings


def setting_faults(error: ValidationError, prefix: str) -> Iterator[str]:
    """A line for each, by the name that the setting has in the environment."""
    for fault in error.errors():
        message = fault["msg"].removeprefix("Value error, ")
        if not fault["loc"]:
            yield f"setting {message}"
            continue
        name = f"{prefix}{str(fault['loc'][0]).upper()}"
        yield f"setting {name}: {fault['input']!r}: {message}"
