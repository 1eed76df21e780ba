# SPDX-License-Identifier: Apache-2.0
"""How far the uplink has come survives a restart; what cannot be read means: send all again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enforcer.uplink_state import CallPlace, SpoolPlace, UplinkState, load_state, save_state

STATE = UplinkState(SpoolPlace(3, 77, 1000, 41, 2), CallPlace("boot-1", 9, (7, 9)), 1)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "state/uplink.json"
    save_state(path, STATE)
    assert load_state(path) == STATE
    assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0


def test_without_a_file_it_begins_at_the_beginning(tmp_path: Path) -> None:
    assert load_state(tmp_path / "absent.json") == UplinkState()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"version": None}, {"refused": -1}, {"refused": "1"}, {"calls": {}},
        {"calls": {"boot": 1, "number": 1, "open": []}}, {"spool": {"segment": 1, "odd": 2}},
        {"calls": {"boot": "b", "number": 1, "open": ["x"]}}, {"spool": None},
    ],
)  # fmt: skip
def test_a_damaged_file_is_as_none(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "uplink.json"
    save_state(path, STATE)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert load_state(path) == UplinkState()


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '{"version": 1}'])
def test_text_that_is_no_state_is_as_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "uplink.json"
    path.write_text(text)
    assert load_state(path) == UplinkState()
