# SPDX-License-Identifier: Apache-2.0
"""What the control plane made of the episode: its incidents, and whether anything is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.replay import places
from tests.replay.judge import call_of, denied
from tests.replay.lictor_command import LictorCommand

Fields = dict[str, Any]
# The uplink ships every moment and reports every few seconds; under emulation both take longer.
PATIENCE = 90.0


def complete(episode: Fields, events: list[Fields]) -> bool:
    """Whether the record has every denial that the node has, and says that none is missing."""
    wanted = sum(denied(event) for event in events if call_of(event))
    counted = sum(incident["denied"] for incident in episode["incidents"])
    return bool(counted >= wanted and episode["completeness"]["complete"])


def gather(lictor: LictorCommand, events: list[Fields], say: Callable[[str], None]) -> Fields:
    """The episode's record once it is complete, or as it is when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while True:
        episode = lictor.episode(places.EPISODE)
        if complete(episode, events) or time.monotonic() > deadline:
            return episode
        say("waiting for the control plane to have it all")
        time.sleep(2)


def account(episode: Fields, events: list[Fields]) -> Fields:
    """The report's part: incidents by call, the statement, and whether both are as they must be."""
    told = {incident["call"] for incident in episode["incidents"]}
    wanted = {call_of(event)["id"] for event in events if denied(event) and call_of(event)}
    return {
        "incidents": episode["incidents"],
        "completeness": episode["completeness"],
        "calls": len(episode["calls"]),
        "held": complete(episode, events) and wanted <= told,
    }
