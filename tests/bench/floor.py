# SPDX-License-Identifier: Apache-2.0
"""The floor: an empty program on every hook that Lictor uses, for what a hook costs at least.

    python -m tests.bench.floor CGROUP...

attaches one to each hook, and the cgroup programs to each CGROUP; says `ready`; and takes
them away when standard input ends. A process of its own, because bcc never lets go of LLVM.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from enforcer import cgroups, libbpf, paths
from enforcer.compilation import SOURCES
from enforcer.preflight import attach_mode
from enforcer.programs import ProgramSet
from enforcer.programtable import AttachMode, Program, programs_for


def hooks(mode: AttachMode) -> tuple[Program, ...]:
    """What is attached: all but iterators, which run only when they are read."""
    return tuple(program for program in programs_for(mode) if program.kind != "iterator")


def source(mode: AttachMode) -> str:
    """C of the empty programs. A cgroup program's 1 means yes, anyone else's 0."""
    return "".join(
        f"int {program.function}(void *ctx) {{ return {int(program.kind == 'cgroup')}; }}\n"
        for program in hooks(mode)
    )


def compiled(mode: AttachMode) -> ProgramSet:
    """The empty programs, compiled by the loader's own code from a folder like bpf/."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "include").symlink_to(paths.BPF_SOURCES / "include")
        for part in SOURCES:
            (folder / part).write_text("")
        (folder / SOURCES[-1]).write_text(source(mode))
        return ProgramSet(folder, mode, 0, {})


def attach(mode: AttachMode, targets: list[str]) -> None:
    """Attach all; this process's descriptors are what keeps them attached."""
    programs = compiled(mode)
    folders = [os.open(cgroups.folder(path), os.O_RDONLY | os.O_DIRECTORY) for path in targets]
    for program in hooks(mode):
        descriptor = programs.load(program)
        if program.kind == "cgroup":
            for folder in folders:
                libbpf.create_link(descriptor, folder, program.attach_type)
        else:
            programs.attach(program, descriptor)


def main() -> int:
    attach(attach_mode(), sys.argv[1:])
    print("ready", flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
