# SPDX-License-Identifier: Apache-2.0
"""Every kernel program compiles without a warning against the running kernel's types.

The verifier's part and attaching are tested in VMs, on each kernel.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from enforcer import compilation
from enforcer.bytecode import OWN_SET, Bytecode, patched
from enforcer.compilation import SOURCES, LoadError
from enforcer.maps import MAPS
from enforcer.paths import BPF_SOURCES
from enforcer.programs import ProgramSet
from enforcer.programtable import PROGRAMS, AttachMode, programs_for

# Compiling opens nothing.
DESCRIPTORS = {name: 1000 + index for index, name in enumerate(MAPS)}
MODES: tuple[AttachMode, ...] = get_args(AttachMode)


@pytest.fixture(scope="module", params=MODES)
def compiled(request: pytest.FixtureRequest) -> ProgramSet:
    return ProgramSet(BPF_SOURCES, request.param, 1, DESCRIPTORS)


@pytest.fixture
def sources(tmp_path: Path) -> Callable[[str, str], Path]:
    """A copy of bpf/ in which one file has text added to its end."""

    def changed(name: str, added: str) -> Path:
        folder = tmp_path / "bpf"
        shutil.copytree(BPF_SOURCES, folder)
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(added)
        return folder

    return changed


def test_the_set_has_every_program_of_its_mode_and_no_other(compiled: ProgramSet) -> None:
    assert set(compiled.code.functions) == {
        program.function for program in programs_for(compiled.mode)
    }


def test_both_modes_have_every_program_but_the_ones_for_fmod_ret() -> None:
    lsm, fmod_ret = (set(programs_for(mode)) for mode in ("lsm", "fmod_ret"))
    assert fmod_ret == set(PROGRAMS)
    assert {program.kind for program in fmod_ret - lsm} == {"fexit"}


def test_functions_and_targets_are_named_once() -> None:
    assert len({program.function for program in PROGRAMS}) == len(PROGRAMS)
    assert len({(program.kind, program.target) for program in PROGRAMS}) == len(PROGRAMS)


def test_every_source_file_is_compiled() -> None:
    files = {path.name for path in BPF_SOURCES.iterdir() if path.suffix in (".c", ".h")}
    assert files == set(SOURCES)


def test_every_map_that_a_program_names_is_made() -> None:
    text = "".join((BPF_SOURCES / name).read_text(encoding="utf-8") for name in SOURCES)
    named = set(re.findall(r"\b(?:MAP|LOOKUP)\((\w+)", text)) - {"name"}
    assert named == set(MAPS)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("code", "warning"),
    [
        ("static inline int unfit(void) { int unused; return 0; }", "unused variable 'unused'"),
        ("static inline int unfit(void) { int number; return number; }", "uninitialized"),
        ("static inline int unfit(u32 a) { if (a = 1) return 1; return 0; }", "assignment"),
        ("static inline int unfit(void) { return undeclared(1); }", "undeclared"),
        ("static inline char *unfit(u64 a) { return a; }", "integer to pointer"),
    ],
)
def test_a_warning_is_an_error(
    mode: AttachMode, code: str, warning: str, sources: Callable[[str, str], Path]
) -> None:
    with pytest.raises(LoadError, match="bpf programs do not compile") as caught:
        ProgramSet(sources("task.c", f"\n{code}\n"), mode, 1, DESCRIPTORS)
    assert warning in caught.value.log
    assert "task.c" in caught.value.log
    assert "\n" not in str(caught.value)


def test_a_map_that_nobody_made_fails_by_name() -> None:
    missing = {name: number for name, number in DESCRIPTORS.items() if name != "scopes"}
    with pytest.raises(LoadError) as caught:
        ProgramSet(BPF_SOURCES, "lsm", 1, missing)
    assert "MAP_scopes" in caught.value.log


def test_a_program_that_is_not_in_the_set_is_named(compiled: ProgramSet) -> None:
    from enforcer.programtable import Program

    absent = Program("egress_nothing", "security", "socket_connect")
    with pytest.raises(LoadError, match="program egress_nothing: not in the compiled set"):
        compiled.load(absent)


# --- placeholders, and what an earlier start compiled --------------------------


def test_no_placeholder_is_left_for_the_kernel(compiled: ProgramSet) -> None:
    placeholder = OWN_SET.to_bytes(4, "little")
    telling = 0
    for code in compiled.code.functions.values():
        telling += placeholder in code
        assert placeholder not in patched(code, list(DESCRIPTORS.values()), 7)
    # Nearly all of them tell of something, and so compare their set with the owner.
    assert telling > len(compiled.code.functions) // 2


def test_the_number_of_the_set_and_of_maps_change_no_code(compiled: ProgramSet) -> None:
    others = {name: 5000 - number for name, number in DESCRIPTORS.items()}
    again = ProgramSet(BPF_SOURCES, compiled.mode, 99, others)
    assert again.code == compiled.code


def test_what_was_compiled_is_taken_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ProgramSet(BPF_SOURCES, "lsm", 1, DESCRIPTORS, cache=tmp_path / "cache")
    assert not first.cached

    def refuse(**_options: object) -> None:
        raise AssertionError("the compiler was started")

    monkeypatch.setattr("bcc.BPF", refuse)
    second = ProgramSet(BPF_SOURCES, "lsm", 2, DESCRIPTORS, cache=tmp_path / "cache")
    assert second.cached
    assert second.code == first.code


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A compiler that is quick, and writes down what it was given."""
    runs: list[str] = []

    def compile_nothing(text: str, flags: list[str]) -> Bytecode:
        runs.append(text)
        return Bytecode("GPL", 1, {program.function: b"" for program in PROGRAMS})

    monkeypatch.setattr(compilation, "_compile", compile_nothing)
    return runs


def _cached(folder: Path, cache: Path, mode: AttachMode = "lsm", maps: int = len(MAPS)) -> bool:
    return compilation.compiled(folder, mode, list(MAPS)[:maps], cache)[1]


def test_a_change_of_whatever_is_compiled_compiles_anew(
    tmp_path: Path, sources: Callable[[str, str], Path], compiling: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = sources("task.c", "")
    cache = tmp_path / "cache"
    assert not _cached(folder, cache)
    assert _cached(folder, cache)
    assert not _cached(folder, cache, "fmod_ret")
    assert not _cached(folder, cache, maps=3)
    for name in ("task.c", "shared.h", "include/include/linux/types.h"):
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write("\n")
        assert not _cached(folder, cache), name
        assert _cached(folder, cache), name
    for target, value in (
        ("bcc.__version__", "0.0"),
        ("platform.release", lambda: "9.9"),
        ("platform.machine", lambda: "other"),
        ("enforcer.compilation.kernel_header", lambda: "struct other;"),
    ):
        monkeypatch.setattr(target, value)
        assert not _cached(folder, cache), target
        assert _cached(folder, cache), target
    assert len(compiling) == 10


def test_the_libraries_that_compile_are_part_of_the_key() -> None:
    parts = [str(part) for part in compilation._compiler_identity(BPF_SOURCES)]
    for library in ("libbcc", "libLLVM", "libclang"):
        assert any(f"/{library}" in part for part in parts), library
