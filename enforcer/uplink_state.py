# SPDX-License-Identifier: Apache-2.0
"""How far the uplink has come: what the control plane has on disk need not be sent again.

Kept in uplink.json. It may lag behind the truth, never run ahead of it: what is sent twice is
stored once, so a lost or damaged file costs time and no event.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from enforcer import paths

VERSION = 1


@dataclass(frozen=True)
class SpoolPlace:
    """Before the next event to send.

    segment, inode: its file; 0 before the first. offset: bytes. position: how many events lie
    before it, in this and in all older segments, those that are gone included. lost: how many
    were gone before they could be sent, ever.
    """

    segment: int = 0
    inode: int = 0
    offset: int = 0
    position: int = 0
    lost: int = 0


@dataclass(frozen=True)
class CallPlace:
    """After the highest call that was sent. open: those sent of which the end is still to tell."""

    boot: str = ""
    number: int = 0
    open: tuple[int, ...] = ()


@dataclass(frozen=True)
class UplinkState:
    """All of it. refused: events and calls that the control plane would not have, ever."""

    spool: SpoolPlace = SpoolPlace()
    calls: CallPlace = CallPlace()
    refused: int = 0


def load_state(path: Path) -> UplinkState:
    """The state on disk; the beginning, if there is none or none that can be used."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _state(data)
    except FileNotFoundError:
        return UplinkState()
    except (ValueError, KeyError, TypeError) as error:
        logger.error("{}: damaged, so all that is kept is sent again: {}", path, error)
        return UplinkState()


def save_state(path: Path, state: UplinkState) -> None:
    """Replace the state on disk, whole and durable on return."""
    data = {"version": VERSION, **asdict(state)}
    paths.write_atomically(path, json.dumps(data) + "\n")


def _state(data: dict[str, Any]) -> UplinkState:
    if data["version"] != VERSION:
        raise ValueError(f"version {data['version']} is not {VERSION}")
    calls = data["calls"]
    state = UplinkState(
        SpoolPlace(**data["spool"]),
        CallPlace(calls["boot"], calls["number"], tuple(calls["open"])),
        data["refused"],
    )
    numbers = (*asdict(state.spool).values(), state.calls.number, *state.calls.open, state.refused)
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("a number is none, or is below 0")
    if not isinstance(state.calls.boot, str):
        raise TypeError("calls.boot is no text")
    return state
