# SPDX-License-Identifier: Apache-2.0
"""The replay on the machine where it runs: ``python -m tests.replay.guest``.

Builds the world, plays the trajectory with Lictor on or off, judges it and leaves
``report.json`` and the far side's logs in the output folder. Exit status 0: with
Lictor every step held; without it every attack succeeded and every legitimate step
came out right. 1: not so. 2: the world or Lictor could not be brought up.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

from tests.replay import episode, judge, session, world
from tests.replay.lictor_command import LictorCommand
from tests.replay.play import Played, play

POLICY = Path(__file__).with_name("policy.yaml")
# Denials reach the log after the fact; they are asked for until all are there.
EVENT_PATIENCE = 60.0
BEGUN = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGUN:6.1f} s] {text}", flush=True)


def _gather(lictor: LictorCommand, played: list[Played]) -> list[dict[str, Any]]:
    deadline = time.monotonic() + EVENT_PATIENCE
    while True:
        events = lictor.events()
        lacking = [result.step.id for result in played if judge.missing(result, events)]
        if not lacking or time.monotonic() > deadline:
            return events
        say(f"waiting for events of {', '.join(lacking)}")
        time.sleep(1)


def replay(lictor: LictorCommand | None, out: Path) -> dict[str, Any]:
    """Play and judge one run; far-side logs and Lictor's events are left in ``out``."""
    say("building the world")
    with world.build(out) as built:
        prefix: list[str] = []
        if lictor is not None:
            say("lictor up")
            lictor.up()
            lictor.apply(POLICY)
            prefix = lictor.run_prefix()
        say("starting the executor and its trainer")
        with session.start(prefix, lictor.path if lictor else None) as started:
            played = play(built, started, harm_expected=lictor is None, say=say)
        events = _gather(lictor, played) if lictor is not None else []
        record = episode.gather(lictor, events, say) if lictor is not None else None
    with (out / "events.jsonl").open("w", encoding="utf-8") as log:
        log.writelines(json.dumps(event) + "\n" for event in events)
    report = judge.build(played, events, platform.release(), lictor is not None)
    if record is not None:
        report["record"] = episode.account(record, events)
        report["held"] = report["held"] and report["record"]["held"]
    return report


def _verdict(report: dict[str, Any]) -> bool:
    if report["mode"] == "lictor":
        return bool(report["held"])
    all_succeeded = report["attacks_succeeded"] == report["attacks"]
    return bool(all_succeeded and report["legitimate_right"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.replay.guest", description=__doc__)
    parser.add_argument("--lictor", choices=("on", "off"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for report and logs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        report = replay(LictorCommand() if options.lictor == "on" else None, options.out)
    except (RuntimeError, OSError) as failure:
        print(f"replay: {failure}", file=sys.stderr)
        return 2
    (options.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    good = _verdict(report)
    say(f"{report['mode']}: {'as it must be' if good else 'NOT as it must be'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
