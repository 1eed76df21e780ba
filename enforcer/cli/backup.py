# SPDX-License-Identifier: Apache-2.0
"""lictor backup: a copy of the control plane's database, whole, while it is in use."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from enforcer.cli.exits import CommandFailed
from enforcer.cli.output import byte_count, print_json


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of `backup`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the copy; must not exist yet")
    parser.add_argument(
        "--database",
        type=Path,
        metavar="FILE",
        help="the database; else the one of the control plane's settings on this machine",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=backup)


def backup(arguments: argparse.Namespace) -> int:
    """Copy, check the copy, say what is in it."""
    from controlplane.storage.backup import BackupFailed
    from controlplane.storage.backup import backup as copy

    try:
        report = copy(arguments.database or _configured(), arguments.file)
    except BackupFailed as error:
        raise CommandFailed(str(error)) from None
    if arguments.json:
        print_json({**asdict(report), "target": str(report.target)})
        return 0
    print(
        f"{report.target}: {byte_count(report.bytes)}, {report.events} events,"
        f" {report.incidents} incidents, schema {report.schema}; checked and on disk"
    )
    return 0


def _configured() -> Path:
    from pydantic import ValidationError

    from controlplane.settings import ControlPlaneSettings

    try:
        return ControlPlaneSettings().database
    except ValidationError as error:
        faults = "".join(f"\n  {fault['msg']}" for fault in error.errors())
        text = "the control plane's settings are wrong; name the database: --database FILE"
        raise CommandFailed(text + faults) from None
