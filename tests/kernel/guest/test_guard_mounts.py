# SPDX-License-Identifier: Apache-2.0
"""Guard `mount`: what a workload's home shows stays; mount namespaces of its own are its own."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.guest.actor import Actor
from tests.kernel.guest.child import Outcome
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.world import Lictor, Workload, denied

MS_REMOUNT, MS_BIND, MS_REC = 32, 4096, 16384
MS_PRIVATE = 1 << 18
CLONE_NEWNS = 0x20000
DETACH = 2
DONE = Outcome("")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A mount point below a mount that has no peers, unmounted at the end."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", tmp_path], check=True)
    subprocess.run(["mount", "--make-private", tmp_path], check=True)
    (tmp_path / "point").mkdir()
    (tmp_path / "old").mkdir()
    yield tmp_path
    subprocess.run(["umount", "--recursive", tmp_path], check=True)


@pytest.fixture(scope="module")
def workload(lictor: Lictor) -> Iterator[Workload]:
    with lictor.confined("") as made:
        yield made


@pytest.fixture
def inside(workload: Workload) -> Iterator[Actor]:
    with Actor(workload) as actor:
        workload.mark()
        yield actor


def mounted(path: Path, pid: int | str = "self") -> bool:
    lines = Path(f"/proc/{pid}/mounts").read_text().splitlines()
    return str(path) in [line.split()[1] for line in lines]


def told(workload: Workload) -> list[str]:
    return [event["object"]["operation"] for event in workload.fresh_events("guard")]


def test_at_home_nothing_is_mounted(folder: Path, workload: Workload, inside: Actor) -> None:
    point = folder / "point"
    with Actor() as outside:
        for words in (
            ("mount", "none", point, "tmpfs", 0, "size=4k"),
            ("mount", "/etc", point, "none", MS_BIND),
        ):
            assert outside.act(*words) == DONE
            assert mounted(point)
            assert outside.act("unmount", point) == DONE
            assert denied(inside.act(*words))
            assert not mounted(point)
        made = outside.number("new-mount", "tmpfs")
        assert outside.act("place-mount", made, point) == DONE
        assert denied(inside.act("unmount", point, DETACH))
        assert denied(inside.act("mount", "none", point, "none", MS_REMOUNT | 1))
        assert mounted(point)
        assert denied(inside.act("new-mount", "tmpfs"))
        assert outside.act("unmount", point, DETACH) == DONE
    assert told(workload) == ["mount", "mount", "unmount", "remount", "mount"]


def test_a_tree_has_no_place_at_home_and_root_stays(
    folder: Path, workload: Workload, inside: Actor
) -> None:
    tree = inside.number("copy-tree", "/etc")
    assert denied(inside.act("place-mount", tree, folder / "point"))
    assert not mounted(folder / "point")
    assert denied(inside.act("pivot", folder, folder / "old"))
    assert told(workload) == ["move_mount", "pivot_root"]


def test_a_mount_namespace_of_its_own_is_free(
    folder: Path, workload: Workload, inside: Actor
) -> None:
    point = folder / "point"
    assert inside.act("unshare", CLONE_NEWNS) == DONE
    assert inside.act("mount", "none", "/", "none", MS_REC | MS_PRIVATE) == DONE
    assert inside.act("mount", "none", point, "tmpfs", 0, "size=4k") == DONE
    assert mounted(point, inside.pid)
    assert not mounted(point)
    assert inside.act("unmount", point) == DONE
    tree = inside.number("copy-tree", "/etc")
    assert inside.act("place-mount", tree, point) == DONE
    assert inside.act("read", point / "hostname").errno is None
    assert inside.act("pivot", folder, folder / "old") == DONE
    assert workload.fresh_events() == []


def test_a_shared_mount_is_no_way_home(folder: Path, workload: Workload, inside: Actor) -> None:
    point = folder / "point"
    subprocess.run(["mount", "--make-shared", folder], check=True)
    with Actor() as outside:
        assert outside.act("unshare", CLONE_NEWNS) == DONE
        assert outside.act("mount", "none", point, "tmpfs", 0, "size=4k") == DONE
        assert mounted(point)
        assert outside.act("unmount", point) == DONE
        assert not mounted(point)
    assert inside.act("unshare", CLONE_NEWNS) == DONE
    tree = inside.number("copy-tree", "/etc")
    for words in (
        ("mount", "none", point, "tmpfs", 0, "size=4k"),
        ("mount", "/etc", point, "none", MS_BIND | MS_PRIVATE),
        ("place-mount", tree, point),
    ):
        assert denied(inside.act(*words)), words
        assert not mounted(point)
    subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
    assert denied(inside.act("unmount", point))
    assert mounted(point)
    assert told(workload) == ["mount", "mount", "move_mount", "unmount"]


def test_a_file_system_of_home_keeps_its_options(
    folder: Path, workload: Workload, inside: Actor
) -> None:
    assert inside.act("unshare", CLONE_NEWNS) == DONE
    assert inside.act("mount", "none", "/", "none", MS_REC | MS_PRIVATE) == DONE
    assert denied(inside.act("mount", "none", folder, "none", MS_REMOUNT | 1))
    (folder / "still-writable").touch()
    assert told(workload) == ["remount"]
    # A bind mount's own options are one mount's.
    assert inside.act("mount", "none", folder, "none", MS_REMOUNT | MS_BIND | 1) == DONE


def test_bubblewrap_like_namespaces_work(workload: Workload) -> None:
    """unshare(1) maps the user, makes all private and mounts a /proc of the new namespaces."""

    def run() -> list[object]:
        done = subprocess.run(
            ["unshare", "-Urmpf", "--mount-proc", "sh", "-c",
             "mount -t tmpfs none /mnt && mount --bind /etc /mnt && ls /mnt/hostname && id -u"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return [done.returncode, done.stdout, done.stderr]

    workload.mark()
    assert workload.run(run) == Outcome([0, "/mnt/hostname\n0\n", ""])
    assert workload.fresh_events("guard") == []


def test_a_disk_is_not_mounted_unless_its_device_is_allowed(confine: Confine) -> None:
    """mount(2) opens a disk by itself, in whatever namespace."""
    number = Path("/").stat().st_dev
    disk = f"/tmp/guest-disk-{os.getpid()}-mount"
    os.mknod(disk, 0o60600, number)
    numbers = f"{os.major(number)}:{os.minor(number)}"
    for devices, allowed in (
        ("{allow: [standard]}", False),
        (f'{{allow: [standard, {{block: "{numbers}"}}]}}', True),
    ):
        workload = confine(f"devices: {devices}")
        with Actor(workload) as actor:
            assert actor.act("unshare", CLONE_NEWNS) == DONE
            assert actor.act("mount", "none", "/", "none", MS_REC | MS_PRIVATE) == DONE
            outcome = actor.act("mount", disk, "/mnt", "ext4", 0)
            assert outcome == DONE if allowed else denied(outcome)
            assert mounted(Path("/mnt"), actor.pid) == allowed
        (event,) = workload.events(kind="device")
        assert event["object"]["major"] == os.major(number)
    Path(disk).unlink()


def test_a_runtime_that_enters_may_mount(folder: Path, workload: Workload) -> None:
    def enter() -> int:
        return subprocess.run(["true"], check=False).returncode

    assert workload.run(enter) == Outcome(0)

    def mount() -> bool:
        libc = ctypes.CDLL(None, use_errno=True)
        target = str(folder / "point").encode()
        if libc.mount(b"none", target, b"tmpfs", 0, None) != 0:
            raise OSError(ctypes.get_errno(), "mount")
        return True

    assert workload.run(mount) == Outcome(True)
    assert mounted(folder / "point")


def test_the_guard_is_opened_by_name(folder: Path, confine: Confine) -> None:
    with Actor(confine("guards: {allow: [mount]}")) as actor:
        assert actor.act("mount", "none", folder / "point", "tmpfs", 0, "size=4k") == DONE
    assert mounted(folder / "point")
