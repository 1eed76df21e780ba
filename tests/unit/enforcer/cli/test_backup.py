# SPDX-License-Identifier: Apache-2.0
"""`lictor backup`: a copy that can be used, of a database that is in use."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from enforcer.cli.exits import EXIT_FAILED
from enforcer.cli.main import main
from tests.api import samples
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane

Capture = pytest.CaptureFixture[str]


def test_a_database_in_use_is_copied(
    controlplane: ServedControlPlane,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    controlplane.ship(samples.event(1), samples.event(2))
    monkeypatch.setenv("LICTOR_API_STATE", str(controlplane.folder))
    target = tmp_path / "copy.db"
    assert main(["backup", str(target)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{target}: ")
    assert "KiB, 2 events, 1 incidents, schema " in text
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("SELECT count(*) FROM events").fetchone() == (2,)


def test_a_named_database_is_copied(
    controlplane: ServedControlPlane, tmp_path: Path, capsys: Capture
) -> None:
    target, database = tmp_path / "copy.db", controlplane.folder / "controlplane.db"
    assert main(["backup", str(target), "--database", str(database), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["target"], found["bytes"]) == (str(target), target.stat().st_size)
    assert main(["backup", str(target), "--database", str(database)]) == EXIT_FAILED
    assert capsys.readouterr().err == f"lictor: backup {target}: exists already\n"


def test_a_database_that_is_not_there_is_named(tmp_path: Path, capsys: Capture) -> None:
    words = ["backup", str(tmp_path / "copy.db"), "--database", str(tmp_path / "absent.db")]
    assert main(words) == EXIT_FAILED
    assert "absent.db does not exist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_wrong_settings_are_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("LICTOR_API_RETENTION_DAYS", "never")
    assert main(["backup", str(tmp_path / "copy.db")]) == EXIT_FAILED
    errors = capsys.readouterr().err
    assert "name the database: --database FILE\n  Input should be a valid number" in errors
