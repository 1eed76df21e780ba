# SPDX-License-Identifier: Apache-2.0
"""Executable memory from files follows the rules of exec; memory without a file stays free.

Each attempt runs the code that it has mapped (attempts/mappings.c), outside first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.guest.attempts import programs
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.programs import SOURCES
from tests.kernel.guest.world import Lictor, Workload, expected, facts

HOME = Path("/srv/guest-mappings")
LISTED, UNLISTED = HOME / "listed", HOME / "unlisted"
MERGED = HOME / "merged"
MAPPINGS = LISTED / "mappings"
LOADER = "/lib64/ld-linux-x86-64.so.2"
SYSTEM = "/usr/**, /lib/**, /lib64/**"
RULES = f"allow: [{LISTED}/**, {SYSTEM}]"
RAN, REFUSED = Outcome("42"), Outcome("errno 1")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Code in a listed and in an unlisted folder: raw, a library, a program with libraries."""
    shutil.rmtree(HOME, ignore_errors=True)
    LISTED.mkdir(parents=True)
    build("-static", MAPPINGS, "mappings.c")
    build("-pie", LISTED / "witness", "witness.c")
    (LISTED / "code").write_bytes(subprocess.check_output([MAPPINGS, "code"]))
    (HOME / "preloaded.c").write_text(
        "#include <unistd.h>\n"
        '__attribute__((constructor)) static void loaded(void) { write(1, "preloaded ", 10); }\n'
    )
    build("-shared", LISTED / "preloaded.so", HOME / "preloaded.c")
    shutil.copytree(LISTED, UNLISTED)
    # As a container's root is: its files are those of the folder below, under names of its own.
    MERGED.mkdir()
    layers = f"lowerdir={UNLISTED}:{LISTED}"
    subprocess.run(["mount", "-t", "overlay", "none", "-o", layers, MERGED], check=True)
    yield HOME
    subprocess.run(["umount", MERGED], check=True)
    shutil.rmtree(HOME)


def build(kind: str, path: Path, source: str | Path) -> None:
    subprocess.run(["gcc", "-O1", "-fPIC", kind, "-o", path, SOURCES / source], check=True)


@pytest.fixture(scope="module")
def ruled(lictor: Lictor, home: Path) -> Iterator[Workload]:
    with lictor.confined(f"exec: {{{RULES}}}") as workload:
        yield workload


def mapped(*words: str | Path) -> str:
    return programs.start(MAPPINGS, *map(str, words))


def preloaded(library: Path) -> str:
    os.environ["LD_PRELOAD"] = str(library)
    return programs.start(LISTED / "witness")


FROM_FILES = ("file", "file-later", "file-written", "file-by-personality")
FROM_MEMORY = ("memory", "memory-twice", "memory-later", "segment")
ANONYMOUS = ("anonymous", "anonymous-later", "shared", "shared-later", "zeros-later")


@pytest.mark.parametrize("way", FROM_FILES)
def test_only_listed_files_become_executable(way: str, ruled: Workload) -> None:
    assert attempt(mapped, way, UNLISTED / "code") == RAN
    ruled.mark()
    assert ruled.run(mapped, way, UNLISTED / "code") == REFUSED
    (event,) = ruled.fresh_events("mapping")
    assert facts(event) == expected(
        ruled, "mapping", "denied", "not_allowed", path=os.fsencode(UNLISTED / "code")
    )
    assert ruled.run(mapped, way, LISTED / "code") == RAN
    assert ruled.fresh_events("mapping") == []


@pytest.mark.parametrize("way", FROM_FILES)
def test_files_of_an_overlay_are_known_by_its_names(way: str, confine: Confine, home: Path) -> None:
    listed = confine(f"exec: {{allow: [{LISTED}/**, {MERGED}/**]}}")
    assert listed.run(mapped, way, MERGED / "code") == RAN
    layers = confine(f"exec: {{allow: [{LISTED}/**, {UNLISTED}/**]}}")
    assert layers.run(mapped, way, MERGED / "code") == REFUSED
    (event,) = [event for event in layers.events() if event["kind"] == "mapping"]
    assert event["object"]["path"] == str(MERGED / "code")


def test_any_file_may_be_mapped_to_be_read(ruled: Workload) -> None:
    assert ruled.run(mapped, "data", UNLISTED / "code") == RAN


@pytest.mark.parametrize("way", FROM_MEMORY)
def test_files_without_a_name_do_not_become_executable(way: str, ruled: Workload) -> None:
    assert attempt(mapped, way) == RAN
    ruled.mark()
    assert ruled.run(mapped, way) == REFUSED
    (event,) = ruled.fresh_events("mapping")
    assert (event["decision"], event["reason"]) == ("denied", "changed")


@pytest.mark.parametrize("way", ANONYMOUS)
def test_memory_without_a_file_stays_free(way: str, ruled: Workload) -> None:
    ruled.mark()
    assert ruled.run(mapped, way) == RAN
    assert ruled.fresh_events("mapping") == []


@pytest.mark.parametrize("way", [*FROM_FILES, *FROM_MEMORY])
def test_mappings_any_is_the_switch_for_compilers(way: str, confine: Confine, home: Path) -> None:
    words = (way, UNLISTED / "code") if way in FROM_FILES else (way,)
    workload = confine(f"exec: {{{RULES}, mappings: any}}")
    assert workload.run(mapped, *words) == RAN
    assert workload.run(programs.start, UNLISTED / "witness").errno == 1


def test_of_an_unlisted_library_a_program_gets_nothing(ruled: Workload) -> None:
    assert attempt(preloaded, UNLISTED / "preloaded.so") == Outcome("preloaded started")
    assert ruled.run(preloaded, UNLISTED / "preloaded.so") == Outcome("started")
    assert ruled.run(preloaded, LISTED / "preloaded.so") == Outcome("preloaded started")


def test_the_loader_by_hand_starts_only_what_is_listed(ruled: Workload) -> None:
    assert attempt(programs.start, LOADER, str(UNLISTED / "witness")) == Outcome("started")
    ruled.mark()
    assert ruled.run(programs.start, LOADER, str(UNLISTED / "witness")) == Outcome("")
    (event,) = ruled.fresh_events("mapping")
    assert event["object"]["path"] == str(UNLISTED / "witness")
    assert ruled.run(programs.start, LOADER, str(LISTED / "witness")) == Outcome("started")


def test_a_program_needs_its_loader_listed(confine: Confine, home: Path) -> None:
    workload = confine(f"exec: {{allow: [{LISTED}/**]}}")
    assert workload.run(programs.start, LISTED / "witness") == Outcome("")
    (event,) = [event for event in workload.events() if event["kind"] == "mapping"]
    assert event["object"]["path"] == os.path.realpath(LOADER)
    assert workload.run(mapped, "anonymous") == RAN


def test_audit_mode_maps_and_tells(confine: Confine, home: Path) -> None:
    workload = confine(f"mode: audit\nexec: {{{RULES}}}")
    assert workload.run(mapped, "file", UNLISTED / "code") == RAN
    (event,) = [event for event in workload.events() if event["kind"] == "mapping"]
    assert event["decision"] == "audited"


def test_a_grant_may_map_what_it_lists(confine: Confine, home: Path) -> None:
    spec = f"exec: {{{RULES}}}\ngrants: {{tools: {{exec: {{allow: [{UNLISTED}/**]}}}}}}"
    assert confine(spec).run(mapped, "file", UNLISTED / "code") == REFUSED
    assert confine(spec, grants=["tools"]).run(mapped, "file", UNLISTED / "code") == RAN
