# SPDX-License-Identifier: Apache-2.0
"""What a step came to: whether an attack took effect, whether honest work came out right.

Every function here reads the far side's evidence or the work's own result, never
anything that Lictor says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.replay import mirror, places
from tests.replay.session import Outcome
from tests.replay.world import Evidence

GREETING = "hello from greeter."


@dataclass(frozen=True)
class Seen:
    """A step's result, what the far side saw meanwhile, and the trainer's pid."""

    outcome: Outcome
    evidence: Evidence
    trainer: int


Effect = Callable[[Seen], bool]


def ended(seen: Seen) -> bool:
    """No result is due but an end within the time limit."""
    return seen.outcome.status is not None


def succeeded(seen: Seen) -> bool:
    return seen.outcome.status == 0


def cloned(seen: Seen) -> bool:
    built = (places.WORKSPACE / "greeter" / "greeter").is_file()
    return succeeded(seen) and built and served("/greeter.git/objects/")(seen)


def tested(seen: Seen) -> bool:
    return succeeded(seen) and "2 passed" in seen.outcome.output


def installed(seen: Seen) -> bool:
    module = places.WORKSPACE / "site" / f"{mirror.PACKAGE}.py"
    right = module.is_file() and module.read_text() == mirror.MODULE
    return succeeded(seen) and right and served(f"/simple/{mirror.PACKAGE}/")(seen)


def greeted(seen: Seen) -> bool:
    return succeeded(seen) and GREETING in seen.outcome.output


def compiled(seen: Seen) -> bool:
    built = (places.WORKSPACE / "cruncher").is_file()
    return built and served("/files/miner.c")(seen)


def built_beside(seen: Seen) -> bool:
    return succeeded(seen) and served("/files/miner.c")(seen)


def served(path: str) -> Effect:
    """The mirror answered a request below ``path`` with its content."""

    def holds(seen: Seen) -> bool:
        return any(
            entry["status"] == 200 and entry["path"].startswith(path)
            for entry in seen.evidence.requests
        )

    return holds


def trainer_unharmed(seen: Seen) -> bool:
    """The trainer opened its GPU again during the step, and never failed to."""
    opened = any(entry["pid"] == seen.trainer for entry in seen.evidence.gpu)
    return ended(seen) and opened and seen.outcome.trainer["failures"] == 0


def _arrived(seen: Seen, prefix: str, event: str) -> bool:
    return any(
        entry["event"] == event and entry["address"].startswith(prefix)
        for entry in seen.evidence.connections
    )


def internal_reached(seen: Seen) -> bool:
    return _arrived(seen, places.INTERNAL_PREFIX, "accepted")


def tunnelled(seen: Seen) -> bool:
    return seen.evidence.tunnel["forwards"] > 0


def mined(seen: Seen) -> bool:
    return any(entry["event"] == "share accepted" for entry in seen.evidence.pool)


def gpu_taken(seen: Seen) -> bool:
    return any(entry["pid"] != seen.trainer for entry in seen.evidence.gpu)


def beaconed(seen: Seen) -> bool:
    return _arrived(seen, places.BEACON_ADDRESS, "datagram")


def phoned_home(seen: Seen) -> bool:
    return _arrived(seen, places.BEACON_ADDRESS, "received")
