# SPDX-License-Identifier: Apache-2.0
"""A program is what lies at its path below the workload's own root; look-alikes borrow nothing.

Each attempt is made by a program of the workload (attempts/places.c), outside first.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.contract.event import exact_bytes
from tests.kernel.guest.attempts import programs
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.programs import SOURCES
from tests.kernel.guest.world import Lictor, Workload

CLONE_NEWNS = 0x20000
HOME = Path("/srv/guest-places")
PLACES = HOME / "listed/places"
LISTED, UNLISTED = HOME / "listed", HOME / "unlisted"
POLICY = f"exec: {{allow: [{LISTED}/**, {HOME}/volume/listed/**, {HOME}/room/listed/**]}}"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Programs at listed and unlisted paths, on the root's file system and on one of its own."""
    shutil.rmtree(HOME, ignore_errors=True)
    for name in ("listed", "unlisted", "scratch", "volume", "room"):
        (HOME / name).mkdir(parents=True)
    for name, path in (("witness", HOME / "program"), ("places", PLACES)):
        source = SOURCES / f"{name}.c"
        subprocess.run(["gcc", "-O1", "-Wall", "-static", "-o", path, source], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", HOME / "volume"], check=True)
    for folder in (LISTED, UNLISTED, HOME / "volume/listed", HOME / "volume/unlisted"):
        folder.mkdir(exist_ok=True)
        shutil.copy(HOME / "program", folder / "program")
    # A root whose paths look like those of the real one.
    (HOME / f"room{LISTED}").mkdir(parents=True)
    shutil.copy(HOME / "program", HOME / f"room{LISTED}/program")
    (HOME / "room/listed").mkdir()
    shutil.copy(HOME / "program", HOME / "room/listed/program")
    yield HOME
    subprocess.run(["umount", HOME / "volume"], check=True)
    shutil.rmtree(HOME)


@pytest.fixture(scope="module")
def ruled(lictor: Lictor, home: Path) -> Iterator[Workload]:
    with lictor.confined(POLICY) as workload:
        yield workload


@dataclass(frozen=True)
class Way:
    """Words for places.c. path: what the event says of the last program; reason: if denied."""

    words: tuple[str | Path, ...]
    path: str | Path
    reason: str | None = None


LOOK_ALIKES = {
    # By their real path they are unlisted.
    "chroot": Way(
        ("chroot", HOME / "room", LISTED / "program"),
        f"{HOME}/room{LISTED}/program", "not_allowed",
    ),
    "bind-mounted-file": Way(
        ("bind", UNLISTED / "program", LISTED / "program", LISTED / "program"),
        UNLISTED / "program", "not_allowed",
    ),
    "bind-mounted-folder": Way(
        ("bind", UNLISTED, LISTED, LISTED / "program"), UNLISTED / "program", "not_allowed",
    ),
    "bind-mounted-from-a-volume": Way(
        ("bind", HOME / "volume/unlisted", LISTED, LISTED / "program"),
        HOME / "volume/unlisted/program", "not_allowed",
    ),
    "detached-tree-below-a-root": Way(
        ("tree-root", HOME / "room", LISTED / "program"),
        f"{HOME}/room{LISTED}/program", "not_allowed",
    ),
    "detached-tree": Way(
        ("tree", UNLISTED, "program"), UNLISTED / "program", "not_allowed",
    ),
    # They are nowhere.
    "file-system-of-its-own": Way(
        ("tmpfs", LISTED, HOME / "program", LISTED / "program"), LISTED / "program", "mount",
    ),
    "memory": Way(("memory", HOME / "program"), "/memfd:copy (deleted)", "changed"),
    "deleted": Way(
        ("deleted", HOME / "program", LISTED / "gone"), f"{LISTED}/gone (deleted)", "changed",
    ),
}  # fmt: skip

NEIGHBOURS = {
    "plain": Way(("plain", LISTED / "program"), LISTED / "program"),
    "on-a-volume": Way(("plain", HOME / "volume/listed/program"), HOME / "volume/listed/program"),
    "below-a-root-of-its-own": Way(
        ("chroot", HOME / "room", "/listed/program"), HOME / "room/listed/program"
    ),
    "in-mounts-of-its-own": Way(("own-mounts", LISTED / "program"), LISTED / "program"),
    "on-a-volume-in-mounts-of-its-own": Way(
        ("own-mounts", HOME / "volume/listed/program"), HOME / "volume/listed/program"
    ),
    "bind-mounted-elsewhere": Way(
        ("bind", LISTED, UNLISTED, UNLISTED / "program"), LISTED / "program"
    ),
    "new-root-that-shows-the-old": Way(
        ("new-root", HOME / "scratch", LISTED / "program"), LISTED / "program"
    ),
    "detached-tree-of-a-listed-folder": Way(("tree", LISTED, "program"), LISTED / "program"),
}


def start(way: Way) -> str:
    return programs.start(PLACES, *map(str, way.words))


def last_exec(workload: Workload) -> tuple[str, str, str]:
    event = workload.fresh_events("exec")[-1]
    return exact_bytes(event["object"], "path").decode(), event["decision"], event["reason"]


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_look_alike_does_not_start(name: str, ruled: Workload) -> None:
    way = LOOK_ALIKES[name]
    assert attempt(start, way) == Outcome("started")
    ruled.mark()
    assert ruled.run(start, way) == Outcome("errno 1")
    assert last_exec(ruled) == (str(way.path), "denied", way.reason)


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_listed_program_starts_however_it_is_reached(name: str, ruled: Workload) -> None:
    way = NEIGHBOURS[name]
    assert attempt(start, way) == Outcome("started")
    ruled.mark()
    assert ruled.run(start, way) == Outcome("started")
    assert last_exec(ruled) == (str(way.path), "allowed", "rule")


@pytest.mark.parametrize("name", ["unnamed", "named-later"])
def test_a_file_that_began_without_a_name_does_not_start(
    name: str, ruled: Workload, home: Path
) -> None:
    def begin() -> str:
        (LISTED / "later").unlink(missing_ok=True)
        return start(Way((name, home / "program", LISTED, LISTED / "later"), ""))

    assert attempt(begin) == Outcome("started")
    ruled.mark()
    assert ruled.run(begin) == Outcome("errno 1")
    assert last_exec(ruled)[1:] == ("denied", "changed")


def test_no_rule_names_a_file_without_a_name(confine: Confine, home: Path) -> None:
    way = LOOK_ALIKES["memory"]
    assert confine("exec: {allow: [/**]}").run(start, way) == Outcome("errno 1")
    assert confine("exec: any").run(start, way) == Outcome("started")


def test_a_runtime_that_enters_may_start_a_copy_of_itself_from_memory(
    confine: Confine, home: Path
) -> None:
    """As crun and runc do; what such a copy starts is the workload's own."""
    workload = confine(POLICY)
    assert workload.run(programs.start_memory, home / "program") == Outcome("started")
    assert workload.run(programs.start_memory, PLACES, "plain", UNLISTED / "program") == Outcome(
        "errno 1"
    )


def test_every_container_of_a_workload_has_a_root_of_its_own(confine: Confine, home: Path) -> None:
    """Of a pod, say: what comes from outside into other mounts brings a root of its own."""
    workload = confine(f"exec: {{allow: [{LISTED}/**]}}")
    room = home / "room"
    shutil.copy(PLACES, f"{room}{PLACES}")

    def container(*words: str | Path) -> str:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        return programs.start_below(room, PLACES, *words)

    assert workload.run(start, NEIGHBOURS["plain"]) == Outcome("started")
    assert workload.run(container, "plain", LISTED / "program") == Outcome("started")
    assert workload.run(container, "plain", "/listed/program") == Outcome("errno 1")
