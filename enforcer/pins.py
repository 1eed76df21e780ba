# SPDX-License-Identifier: Apache-2.0
"""What is pinned besides maps: links of one program set, its cgroup programs and iterator.

    /sys/fs/bpf/lictor/tags                      the tag map, for good
    /sys/fs/bpf/lictor/maps-<layout>/<map>       all other maps
    /sys/fs/bpf/lictor/set-<number>/<function>   links; programs for cgroups and iterators
    /sys/fs/bpf/lictor/set-<number>/cgroups/<id>/<target>   links to workloads' roots

Pins are the only handles of LSM and tracing links: removing them detaches the programs.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from enforcer import cgroups, libbpf
from enforcer.abi import ScopeFlag
from enforcer.maps import PIN_ROOT, Maps, pin_path
from enforcer.programtable import PROGRAMS


def set_folder(number: int) -> Path:
    """Folder of the program set `number`."""
    return PIN_ROOT / f"set-{number}"


def sets() -> list[int]:
    """Numbers of the program sets that have pins, lowest first."""
    if not PIN_ROOT.is_dir():
        return []
    return sorted(int(path.name[4:]) for path in PIN_ROOT.glob("set-*"))


def owner(maps: Maps) -> int:
    """The program set that reports events; 0 before the first load."""
    control = maps.control.get(0)
    return control.owner if control else 0


def remove_set(number: int) -> None:
    """Detach a program set by removing its pins."""
    shutil.rmtree(set_folder(number))


def remove_old_maps() -> None:
    """Forget the maps of other layout versions, once no program set uses them."""
    for folder in PIN_ROOT.glob("maps-*"):
        if folder != pin_path("control").parent:
            shutil.rmtree(folder)


def remove_everything() -> None:
    """Detach all programs, then forget all maps: enforcement ends."""
    for number in sets():
        remove_set(number)
    if PIN_ROOT.is_dir():
        shutil.rmtree(PIN_ROOT)


def arm(number: int, path: str) -> None:
    """Attach the set's socket programs to the cgroup `path`. Again is harmless."""
    target_id = cgroups.cgroup_id(path)
    folder = set_folder(number) / "cgroups" / str(target_id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = os.open(cgroups.folder(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        for program in PROGRAMS:
            pin = folder / program.target
            if program.kind != "cgroup" or pin.exists():
                continue
            descriptor = libbpf.open_pin(str(set_folder(number) / program.function))
            try:
                link = libbpf.create_link(descriptor, target, program.attach_type)
                libbpf.pin(link, str(pin))
                os.close(link)
            finally:
                os.close(descriptor)
    finally:
        os.close(target)


def armed(number: int) -> set[int]:
    """Ids of the cgroups that the set's socket programs are attached to."""
    folder = set_folder(number) / "cgroups"
    return {int(path.name) for path in folder.iterdir()} if folder.is_dir() else set()


def disarm(number: int, cgroup: int) -> None:
    """Forget the links of a cgroup that is gone or no longer covered."""
    shutil.rmtree(set_folder(number) / "cgroups" / str(cgroup), ignore_errors=True)


def arm_scopes(maps: Maps, path: str) -> None:
    """Mark `path` and all below it as armed, so that sockets may be made there."""
    for _, cgroup in cgroups.walk(path):
        scope = maps.scopes.get(cgroup)
        if scope is not None and not scope.flags & ScopeFlag.ARMED:
            scope.flags |= ScopeFlag.ARMED
            maps.scopes.replace(cgroup, scope)
