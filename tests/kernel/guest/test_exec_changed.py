# SPDX-License-Identifier: Apache-2.0
"""Under `changed: deny` a listed file starts, and is mapped, only as the workload found it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.contract.event import exact_bytes
from tests.kernel.guest.attempts import programs
from tests.kernel.guest.child import Outcome
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.programs import SOURCES
from tests.kernel.guest.world import Workload

HOME = Path("/srv/guest-changed")
STRICT, FREE = HOME / "strict", HOME / "free"
PROGRAM, PLACES, MAPPINGS = STRICT / "program", STRICT / "places", STRICT / "mappings"
RULES = f"""
    exec:
      changed: deny
      allow:
        - {STRICT}/**
        - {{path: {FREE}/**, changed: allow}}
"""
STARTED, REFUSED = Outcome("started"), Outcome("errno 1")


@pytest.fixture
def home() -> Iterator[Path]:
    """Programs that are older than the workload; made anew for each test, which changes them."""
    shutil.rmtree(HOME, ignore_errors=True)
    STRICT.mkdir(parents=True)
    FREE.mkdir()
    for name, path in (("witness", PROGRAM), ("places", PLACES), ("mappings", MAPPINGS)):
        source = SOURCES / f"{name}.c"
        subprocess.run(["gcc", "-O1", "-static", "-o", path, source], check=True)
    shutil.copy(PROGRAM, STRICT / "other")
    (STRICT / "code").write_bytes(subprocess.check_output([MAPPINGS, "code"]))
    yield HOME
    shutil.rmtree(HOME)


@pytest.fixture
def sealed(confine: Confine, home: Path) -> Workload:
    """A workload that has been entered, so that from now on what changes has changed."""
    workload = confine(RULES)
    assert start(workload) == STARTED
    workload.mark()
    return workload


def start(workload: Workload, path: Path = PROGRAM) -> Outcome:
    """By a program of the workload."""
    return workload.run(programs.start, PLACES, "plain", str(path))


def overwrite() -> None:
    with PROGRAM.open("r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(byte)


def replace() -> None:
    shutil.copy(PROGRAM, STRICT / "new")
    (STRICT / "new").rename(PROGRAM)


def rename() -> None:
    (STRICT / "other").rename(PROGRAM)


def link() -> None:
    PROGRAM.unlink()
    os.link(STRICT / "other", PROGRAM)


def write_through_a_mapping() -> None:
    import mmap

    with PROGRAM.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0] = memory[0]


def with_old_times() -> None:
    overwrite()
    os.utime(PROGRAM, (0, 0))


@pytest.mark.parametrize(
    "change", [overwrite, replace, rename, link, write_through_a_mapping, with_old_times]
)
@pytest.mark.parametrize("who", ["inside", "outside"])
def test_what_changed_does_not_start(
    who: str, change: Callable[[], None], sealed: Workload
) -> None:
    if who == "inside":
        assert sealed.run(change) == Outcome()
    else:
        change()
    assert subprocess.check_output([PROGRAM]) == b"started"
    assert start(sealed) == REFUSED
    event = sealed.fresh_events("exec")[-1]
    assert exact_bytes(event["object"], "path") == os.fsencode(PROGRAM)
    assert (event["decision"], event["reason"], event["rule"]) == (
        "denied", "changed", "exec.allow[0]",
    )  # fmt: skip


def test_what_is_as_it_was_starts_and_the_rest_beside_it_too(sealed: Workload) -> None:
    shutil.copy(PROGRAM, STRICT / "fresh")
    assert start(sealed) == STARTED
    assert start(sealed, STRICT / "fresh") == REFUSED
    assert start(sealed, STRICT / "other") == STARTED


def test_fresh_programs_start_where_the_rule_lets_them(sealed: Workload) -> None:
    """As compilers and package managers make them in a workspace."""
    assert sealed.run(shutil.copy, str(PROGRAM), str(FREE / "fresh")).errno is None
    assert start(sealed, FREE / "fresh") == STARTED


def test_a_changed_program_does_not_start_for_who_enters_later(sealed: Workload) -> None:
    """`podman exec` of a shell that the model has replaced, say."""
    overwrite()
    assert sealed.run(programs.start, PROGRAM).errno == 1


def test_a_changed_file_is_not_mapped(sealed: Workload) -> None:
    words = ("file", str(STRICT / "code"))
    assert sealed.run(programs.start, MAPPINGS, *words) == Outcome("42")
    os.utime(STRICT / "code")
    assert sealed.run(programs.start, MAPPINGS, *words) == REFUSED
    shutil.copy(STRICT / "code", FREE)
    assert sealed.run(programs.start, MAPPINGS, "file", str(FREE / "code")) == Outcome("42")


def test_without_the_word_changed_files_start(confine: Confine, home: Path) -> None:
    workload = confine(f"exec: {{allow: [{STRICT}/**]}}")
    assert start(workload) == STARTED
    overwrite()
    assert start(workload) == STARTED


def test_a_grant_may_start_what_changed(confine: Confine, home: Path) -> None:
    grants = f"    grants: {{tools: {{exec: {{allow: [{STRICT}/program]}}}}}}"
    base, granted = confine(RULES + grants), confine(RULES + grants, grants=["tools"])
    assert (start(base), start(granted)) == (STARTED, STARTED)
    overwrite()
    assert (start(base), start(granted)) == (REFUSED, STARTED)
