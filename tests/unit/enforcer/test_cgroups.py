# SPDX-License-Identifier: Apache-2.0
"""Cgroups by path and by id, in a folder that stands for the v2 tree."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from enforcer import cgroups, paths


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    for name in ("rl.slice/a/inner", "rl.slice/b", "rl.slicer", "odd name\n"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "rl.slice/cgroup.procs").touch()
    (tmp_path / "rl.slice/link").symlink_to(tmp_path / "rl.slicer")
    return tmp_path


def _paths(pairs: list[tuple[str, int]]) -> list[str]:
    return [path for path, _ in pairs]


def test_an_id_is_the_folders_inode(root: Path) -> None:
    assert cgroups.cgroup_id("/rl.slice/a") == (root / "rl.slice/a").stat().st_ino
    assert cgroups.cgroup_id("/") == root.stat().st_ino
    with pytest.raises(FileNotFoundError, match="absent"):
        cgroups.cgroup_id("/absent")


def test_what_exists_is_a_folder() -> None:
    assert cgroups.exists("/rl.slice/a")
    assert not cgroups.exists("/rl.slice/c")
    assert not cgroups.exists("/rl.slice/cgroup.procs")


def test_a_walk_gives_parents_first_and_follows_no_links() -> None:
    assert _paths([*cgroups.walk("/rl.slice")]) == [
        "/rl.slice", "/rl.slice/a", "/rl.slice/a/inner", "/rl.slice/b",
    ]  # fmt: skip
    assert _paths([*cgroups.walk("/absent")]) == []


def test_a_walk_from_the_root_has_no_double_slash() -> None:
    paths = _paths([*cgroups.walk("/")])
    assert paths[0] == "/"
    assert "/odd name\n" in paths
    assert "/rl.slice/a/inner" in paths


def test_what_vanishes_during_a_walk_is_left_out(root: Path) -> None:
    found = []
    for path, _ in cgroups.walk("/rl.slice"):
        found.append(path)
        if path == "/rl.slice/a":
            (root / "rl.slice/a/inner").rmdir()
            (root / "rl.slice/b").rmdir()
    assert found == ["/rl.slice", "/rl.slice/a"]


def test_children_are_the_direct_ones(root: Path) -> None:
    assert cgroups.children("/rl.slice") == [
        (path, cgroups.cgroup_id(path)) for path in ("/rl.slice/a", "/rl.slice/b")
    ]
    assert "/rl.slice" in _paths(cgroups.children("/"))
    assert cgroups.children("/absent") == []


def test_an_id_is_found_again() -> None:
    assert cgroups.find(cgroups.cgroup_id("/rl.slice/a/inner")) == "/rl.slice/a/inner"
    assert cgroups.find(0) is None


def test_a_process_is_in_some_cgroup() -> None:
    assert cgroups.of_process(os.getpid()).startswith("/")
    with pytest.raises(OSError, match="/proc/4194305"):
        cgroups.of_process(4194305)


@pytest.mark.parametrize(
    ("path", "monitor"),
    [
        ("/machine.slice/libpod-conmon-0a1b.scope", True),
        ("/kubepods.slice/x.slice/crio-conmon-0a1b.scope", True),
        ("/machine.slice/libpod-0a1b.scope", False),
        ("/machine.slice/libpod-conmon-0a1b.scope/inner", False),
        ("/machine.slice/my-libpod-conmon-0a1b.scope", False),
    ],
)
def test_a_monitors_scope_is_known_by_its_name(path: str, monitor: bool) -> None:
    assert cgroups.is_monitor(path) == monitor


def test_the_kernel_programs_know_the_same_monitors() -> None:
    text = (paths.BPF_SOURCES / "task.c").read_text(encoding="utf-8")
    assert tuple(re.findall(r'#define MONITOR_\w+ "(.*)"', text)) == cgroups.MONITORS
