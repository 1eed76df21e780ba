# SPDX-License-Identifier: Apache-2.0
"""Runs in the VM: what each attempt costs with nothing loaded, with empty programs, with Lictor.

    python -m tests.bench.guest RESULT

writes RESULT, JSON: `counts[state][place][kind]` with the kinds of hookbench.c; `loader`,
`programs`, `agent` and `stack` as the functions that measure them say. The places are two cgroups
of the same depth; only `inside` is a workload, and only in the state `lictor`.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from enforcer import cgroups
from enforcer.maps import Maps
from enforcer.preflight import attach_mode
from tests.bench import figures, others, stack

HERE = Path(__file__).resolve().parent
FOLDER = Path("/bench")
HOOKBENCH = FOLDER / "allowed/hookbench"
PLACES = {"outside": "/bench-outside.slice/task", "inside": "/bench.slice/workload"}
GPU_MAJOR = 195
MODPROBE = Path("/proc/sys/kernel/modprobe")
EPERM = 1
FLOOD_EVENTS = 50_000


def say(text: str) -> None:
    """One line of progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def prepare() -> None:
    """Build the programs that are timed, and make the two cgroups."""
    for folder in ("allowed", "denied"):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)
    compiler = ["gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror"]
    for program, name in (
        (HOOKBENCH, "hookbench.c"),
        (FOLDER / "allowed/true", "true.c"),
        (FOLDER / "denied/true", "true.c"),
    ):
        subprocess.run([*compiler, "-o", program, HERE / name], check=True)
    (FOLDER / "allowed/file").write_text("a regular file\n")
    os.mknod(FOLDER / "allowed/gpu", 0o020666, os.makedev(GPU_MAJOR, 0))
    # No driver will come; the search for one would take thousands of times the open itself.
    MODPROBE.write_text("\n")
    for path in PLACES.values():
        cgroups.folder(path).mkdir(parents=True)


def in_place(place: str, *arguments: str, under: Sequence[str] = ()) -> str:
    """Output of a hookbench that runs in a place's cgroup. under: a command that starts it."""
    procs = cgroups.folder(PLACES[place]) / "cgroup.procs"
    done = subprocess.run(
        [*under, HOOKBENCH, FOLDER, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=lambda: procs.write_text("0") and None,
    )
    return done.stdout


def parse(text: str) -> dict[str, dict[str, int]]:
    """hookbench's lines by kind."""
    fields = ("errno", "samples", "lowest", "median", "p90")
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: dict(zip(fields, map(int, row[1:]), strict=True)) for row in rows}


def count(state: str, place: str) -> dict[str, dict[str, int]]:
    """Measure twice; `again` is the second run's median."""
    say(f"counting: {state}, {place}")
    first, second = parse(in_place(place)), parse(in_place(place))
    for kind, row in first.items():
        row["again"] = second[kind]["median"]
    return first


def check(counts: dict[str, dict[str, int]], *, denying: bool) -> None:
    """Every attempt must have ended as it should, else the figures are of something else."""
    for kind, row in counts.items():
        denied = row["errno"] == EPERM
        if denied != (denying and kind.endswith("_denied")):
            raise RuntimeError(f"{kind}: ended with errno {row['errno']}, every time or sometimes")


def check_rings() -> None:
    """A full ring would make events cheaper than they are."""
    maps = Maps.open()
    counts = maps.workloads.get(cgroups.cgroup_id(PLACES["inside"]))
    maps.close()
    if counts is None or counts.suppressed or counts.lost_denials or counts.lost_activity:
        raise RuntimeError("the workload's events did not all fit into the rings")


@contextlib.contextmanager
def empty_programs() -> Iterator[None]:
    """The floor is attached while this is open."""
    command = [sys.executable, "-m", "tests.bench.floor", PLACES["inside"]]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the empty programs could not be attached")
        yield
        process.stdin.close()


def lictor(*arguments: str) -> None:
    """The command as an operator gives it."""
    subprocess.run(["lictor", *arguments], check=True)


def both_places(state: str) -> dict[str, Any]:
    """Counts of both places in a state that denies nothing."""
    counts = {place: count(state, place) for place in PLACES}
    for row in counts.values():
        check(row, denying=False)
    return counts


def measure() -> dict[str, Any]:
    """All states in turn, from nothing loaded to nothing loaded again."""
    counts: dict[str, Any] = {"none": both_places("none")}
    say("counting: AppArmor, systemd")
    compared = others.measure(HOOKBENCH, FOLDER, in_place)
    with empty_programs():
        counts["floor"] = both_places("floor")
    loader = figures.load()
    figures.start_agent()
    lictor("policy", "apply", str(HERE / "policy.yaml"))
    agent = {"start": figures.agent_memory()}
    programs = figures.programs()
    # A reader that wakes up would be counted too.
    lictor("down")
    counts["lictor"] = {place: count("lictor", place) for place in PLACES}
    check(counts["lictor"]["outside"], denying=False)
    check(counts["lictor"]["inside"], denying=True)
    check_rings()
    figures.start_agent()
    agent |= flood()
    lictor("down")
    whole = stack.measure(say)
    lictor("down")
    lictor("unload")
    counts["unloaded"] = both_places("unloaded")
    return {
        "kernel": platform.release(),
        "attachment": attach_mode(),
        "counts": counts,
        "others": {name: parse(text) for name, text in compared.items()},
        "loader": loader,
        "programs": programs,
        "agent": agent,
        "stack": whole,
    }


def flood() -> dict[str, Any]:
    """What the agent holds and has used after FLOOD_EVENTS events."""
    say(f"the agent reads {FLOOD_EVENTS} events")
    figures.drain()
    before = figures.agent_instructions()
    in_place("inside", "flood", str(FLOOD_EVENTS))
    figures.drain()
    used = figures.agent_instructions() - before
    return {
        "events": FLOOD_EVENTS,
        "after_events": figures.agent_memory(),
        "instructions_per_event": used // FLOOD_EVENTS,
    }


def main() -> int:
    started = time.monotonic()
    prepare()
    Path(sys.argv[1]).write_text(json.dumps(measure(), indent=1) + "\n")
    say(f"done after {time.monotonic() - started:.0f} s of the guest's time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
