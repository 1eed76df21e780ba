# SPDX-License-Identifier: Apache-2.0
"""Paths that are hard to hold: every byte of them arrives, and none of them escapes its rule."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.contract.event import exact_bytes
from tests.kernel.guest.attempts import programs
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.programs import compiled
from tests.kernel.guest.world import Workload, denied

HOME = Path("/srv/guest-paths")
STARTED = Outcome("started")
# d_path's room in an event, its NUL included: EVENT_PATH_SIZE in bpf/shared.h.
LONGEST = 4607
# Folders and mounts of one path: bpf/place.c.
MAX_DEPTH = 96


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    HOME.mkdir()
    yield HOME
    shutil.rmtree(HOME)


ODD_NAMES = {
    "newline": b"two\nlines",
    "not-utf-8": b"\xff\xfe\x80 latin \xe4",
    "terminal-escapes": b"\x1b[2J\x07\r",
    "quotes": b"\"'\\ $(id) `id`",
    "half-a-character": "ä".encode()[:1],
    "deleted-in-words": b"program (deleted)",
}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_name_is_judged_and_told_exactly(name: str, home: Path, confine: Confine) -> None:
    path = os.fsencode(home) + b"/" + ODD_NAMES[name]
    shutil.copy(os.fsencode(compiled("witness")), path)
    assert attempt(programs.start, path) == STARTED
    for rule, allowed in ((f"{home}/**", True), (f"{home}/other/**", False)):
        workload = confine(f"exec: {{allow: [{rule}], mappings: any}}")
        outcome = workload.run(programs.start, path)
        assert outcome == STARTED if allowed else denied(outcome)
        (event,) = workload.events()
        assert exact_bytes(event["object"], "path") == path


def deep(home: Path, length: int) -> tuple[list[bytes], bytes]:
    """Folders to enter one after the other and a program's name: a path of `length` bytes."""
    folders, descriptor = [os.fsencode(home)], os.open(home, os.O_PATH)
    left = length - len(folders[0])
    while left > 256:
        # Two more bytes must stay: a slash and a name of one byte.
        name = b"d" * min(200, left - 3)
        folders.append(name)
        left -= len(name) + 1
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=descriptor)
        inner = os.open(name, os.O_PATH, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    program = b"p" * (left - 1)
    shutil.copy(os.fsencode(compiled("witness")), b"/proc/self/fd/%d/%s" % (descriptor, program))
    os.close(descriptor)
    return folders, program


@pytest.mark.parametrize("length", [243, 244, 245, 511, 512, 513, 4095, 4096, LONGEST])
def test_long_path_is_judged_by_its_beginning(length: int, home: Path, confine: Confine) -> None:
    folders, program = deep(home, length)
    path = b"/".join([*folders, program])
    assert len(path) == length
    assert attempt(programs.start_deep, folders, program) == STARTED
    for spec, allowed in (
        (f"{{allow: [{home}/**], mappings: any}}", True),
        ("{allow: [/usr/**]}", False),
    ):
        workload = confine(f"exec: {spec}")
        outcome = workload.run(programs.start_deep, folders, program)
        assert outcome == STARTED if allowed else denied(outcome)
        (event,) = workload.events()
        assert exact_bytes(event["object"], "path") == path


@pytest.mark.parametrize("section", ["{allow: [/**], deny: [/srv/guest-paths/**]}", "any"])
def test_path_beyond_all_room_is_denied(section: str, home: Path, confine: Confine) -> None:
    folders, program = deep(home, LONGEST + 1)
    assert attempt(programs.start_deep, folders, program) == STARTED
    workload = confine(f"exec: {section}")
    assert denied(workload.run(programs.start_deep, folders, program))
    assert _told(workload) == ("denied", "unreadable", b"")


def test_more_folders_than_a_walk_takes_are_denied(home: Path, confine: Confine) -> None:
    # Of the steps, three are for the rest of the path and one is for the root that it begins with.
    fitting, beyond = (home / "/".join("f" * count) for count in (MAX_DEPTH - 4, MAX_DEPTH - 3))
    for path in (fitting, beyond):
        path.mkdir(parents=True, exist_ok=True)
        shutil.copy(compiled("witness"), path / "program")
        assert attempt(programs.start, path / "program") == STARTED
    workload = confine(f"exec: {{allow: [{home}/**], mappings: any}}")
    assert workload.run(programs.start, fitting / "program") == STARTED
    assert denied(workload.run(programs.start, beyond / "program"))
    assert [event["reason"] for event in workload.events()] == ["rule", "unreadable"]


def _told(workload: Workload) -> tuple[str, str, bytes]:
    (event,) = workload.events()
    return event["decision"], event["reason"], exact_bytes(event["object"], "path")
