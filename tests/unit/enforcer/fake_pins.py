# SPDX-License-Identifier: Apache-2.0
"""A folder that stands for the bpf file system: a pin is a file, a link a descriptor of nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enforcer import abi, cgroups, maps, pins
from enforcer.programtable import PROGRAMS


class FakePins:
    """Replaces libbpf in enforcer.pins. links: (program, cgroup folder) as they were made."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "bpf"
        self.cgroups = folder / "cgroup"
        self.cgroups.mkdir()
        self.links: list[tuple[str, str]] = []
        self.refused: str | None = None
        self._programs: dict[int, str] = {}

    def load(self, number: int) -> None:
        """A program set as the loader leaves it."""
        folder = pins.set_folder(number)
        folder.mkdir(parents=True)
        for program in PROGRAMS:
            (folder / program.function).touch()

    def make_cgroup(self, path: str) -> int:
        """Make a cgroup and those above it; returns its id."""
        (self.cgroups / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return cgroups.cgroup_id(path)

    def open_pin(self, path: str) -> int:
        descriptor = os.open(path, os.O_RDONLY)
        self._programs[descriptor] = Path(path).name
        return descriptor

    def create_link(self, program: int, target: int, attach_type: int) -> int:
        name = self._programs[program]
        if name == self.refused:
            raise OSError(22, "Invalid argument", f"link of program {program}")
        place = Path(f"/proc/self/fd/{target}").readlink()
        self.links.append((name, f"/{place.relative_to(self.cgroups)}"))
        return os.open(os.devnull, os.O_RDONLY)

    def pin(self, descriptor: int, path: str) -> None:
        Path(path).touch(exist_ok=False)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakePins:
    """Put the fake in place, with cgroups in a folder beside it."""
    fake = FakePins(folder)
    for module in (maps, pins):
        monkeypatch.setattr(module, "PIN_ROOT", fake.root)
    monkeypatch.setattr(pins, "libbpf", fake)
    monkeypatch.setattr(cgroups, "ROOT", fake.cgroups)
    return fake


def owned(number: int) -> abi.Control:
    """The control word of a node whose program set is `number`."""
    return abi.Control(layout=abi.LAYOUT_VERSION, owner=number)
