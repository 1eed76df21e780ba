# SPDX-License-Identifier: Apache-2.0
"""Killed at any moment, the control plane has what it acknowledged, whole and once."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from controlplane.storage import episodes, incidents
from tests.unit.controlplane.storage import ingesting
from tests.unit.controlplane.storage.conftest import Storage

ROUNDS = 6


def killed_while_taking(path: Path, first: int, chance: random.Random) -> int:
    """Let a process take batches, kill it at a random moment; the last that it acknowledged."""
    command = [sys.executable, "-m", ingesting.__name__, str(path), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline() for _ in range(chance.randint(1, 5))]
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        acknowledged += process.stdout.readlines()
    assert process.returncode == -9
    # The kill may cut the line itself; what was not said in whole was not said.
    whole = [line for line in acknowledged if line.endswith("\n")]
    return int(whole[-1])


def stored(path: Path) -> list[tuple[int, int]]:
    """(workload, sequence) of every event, read without our code."""
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    rows = raw.execute(
        "SELECT workload_id, key FROM events JOIN streams ON streams.id = stream ORDER BY 1, 2"
    ).fetchall()
    raw.close()
    return rows


def wanted(batches: int) -> list[tuple[int, int]]:
    return sorted(
        (event["workload_id"], event["sequence"])
        for number in range(batches)
        for event in ingesting.batch(number)
    )


def test_a_kill_loses_nothing_acknowledged_and_doubles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "controlplane.db"
    chance = random.Random(7)
    taken = 0
    for _ in range(ROUNDS):
        # The node sends again from what it knows to be acknowledged, and from before that.
        taken = 1 + killed_while_taking(path, max(0, taken - chance.randint(0, 2)), chance)
        found = stored(path)
        # The batch that was under way is there as a whole or not at all.
        assert found in (wanted(taken), wanted(taken + 1))
    storage = Storage(path)
    size = len(stored(path))
    assert sum(i.denied for i in storage.read(incidents.query)) == size // 5
    episode = storage.read(episodes.get, "rome-0001")
    assert episode is not None
    assert episode.completeness.statement == f"nothing missing of {size} events"
    assert episode.decisions == {"denied": size // 5, "allowed": size - size // 5}
    storage.close()
