# SPDX-License-Identifier: Apache-2.0
"""Daemons as `lictor up` starts them: ready once they say so, one at a time, gone after a stop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer import paths
from enforcer.cli.daemons import Daemon


@pytest.fixture
def daemon(node: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setattr(paths, "LOG", node / "log")
    made = Daemon("fake", "tests.unit.enforcer.cli.fake_daemon", "no-such", paths.AGENT_PID)
    yield made
    made.stop()


def test_it_runs_once_it_said_that_it_is_ready(daemon: Daemon) -> None:
    assert daemon.running() is None
    daemon.start()
    pid = daemon.running()
    assert pid is not None
    assert "fake_daemon" in Path(f"/proc/{pid}/cmdline").read_text()
    # Detached: what ends our session does not end it.
    assert os.getsid(pid) == pid


def test_a_start_replaces_the_one_before(daemon: Daemon) -> None:
    daemon.start()
    before = daemon.running()
    daemon.start()
    assert daemon.running() not in (None, before)


def test_a_stop_ends_it(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.stop()
    assert daemon.running() is None
    assert not daemon.stop()


def test_one_that_fails_is_named_with_its_log(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_DAEMON", "fails")
    with pytest.raises(OSError, match=f"fake ended with 7; see {daemon.log}"):
        daemon.start()
    assert daemon.log.read_text() == "no room\n"
