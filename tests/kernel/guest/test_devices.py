# SPDX-License-Identifier: Apache-2.0
"""Devices other than GPUs: the standard set works, what no rule names is closed."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.guest.attempts.devices import (
    open_nodes,
    open_own_node,
    open_read,
    open_write,
    read_start,
    use_standard,
)
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.nodes import CountedNode
from tests.kernel.guest.world import Lictor, Workload, denied

STANDARD = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
    "ptmx": (5, 2), "console": (5, 1),
}  # fmt: skip


@pytest.fixture(scope="module")
def without(lictor: Lictor) -> Iterator[Workload]:
    """May open the standard devices and no other."""
    with lictor.confined("devices: {allow: [standard], gpus: none}") as workload:
        yield workload


def test_standard_devices_work(without: Workload) -> None:
    without.mark()
    assert without.run(use_standard) == Outcome([0, 0, 0, 0])
    for name in STANDARD:
        assert without.run(open_write, f"/dev/{name}") == Outcome(), name
    told = {
        (event["object"]["major"], event["object"]["minor"]): event["rule"]
        for event in without.fresh_events()
    }
    assert told.items() >= dict.fromkeys(STANDARD.values(), "devices.allow[0]").items()
    assert set(told.values()) == {"devices.allow[0]"}


@pytest.fixture(scope="module")
def disk() -> str:
    """The disk that this machine runs from."""
    path = f"/tmp/guest-disk-{os.getpid()}"
    os.mknod(path, stat.S_IFBLK | 0o600, Path("/").stat().st_dev)
    return path


def test_block_device_is_closed_unless_named(disk: str, confine: Confine) -> None:
    number = Path(disk).stat().st_rdev
    numbers = f"{os.major(number)}:{os.minor(number)}"
    assert attempt(read_start, disk) == Outcome(512)
    # A character device of the same numbers is another device.
    for allow, allowed in (
        ("standard", False),
        (f'{{char: "{numbers}"}}', False),
        (f'{{block: "{numbers}"}}', True),
        (f'{{block: "{os.major(number)}:*"}}', True),
    ):
        workload = confine(f"devices: {{allow: [{allow}]}}")
        outcome = workload.run(read_start, disk)
        assert outcome == Outcome(512) if allowed else denied(outcome), allow
        (event,) = workload.events()
        assert event["object"] == {
            "type": "block", "major": os.major(number), "minor": os.minor(number), "class": None,
        }  # fmt: skip


@pytest.mark.parametrize("path", ["/dev/mem", "/dev/kmsg", "/dev/fuse", "/dev/net/tun"])
def test_device_that_no_rule_names_is_closed(path: str, without: Workload) -> None:
    if path == "/dev/net/tun":
        subprocess.run(["modprobe", "tun"], check=True)
    assert attempt(open_read, path) == Outcome()
    assert denied(without.run(open_read, path))


def test_every_node_of_the_machine_but_the_standard_ones_is_closed(without: Workload) -> None:
    """Memory, ports, disks, loop control, clocks, input: whatever is there."""
    found = without.run(open_nodes).value
    assert len(found) > 20
    numbers = {path: Path(path).stat().st_rdev for path in found}
    standard = {os.makedev(*number) for number in STANDARD.values()}
    others = {
        path: error
        for path, error in found.items()
        if numbers[path] not in standard and not path.startswith("/dev/pts/")
    }
    others.pop("/dev/tty")
    assert {path for path, error in others.items() if error != errno.EPERM} == set()
    for number in (os.makedev(1, 1), os.makedev(1, 4), Path("/").stat().st_dev):
        assert number in {numbers[path] for path in others}


def test_number_that_no_driver_has_is_closed_already(tmp_path: Path, without: Workload) -> None:
    """As /dev/kvm, before its module is loaded: a rule needs no driver."""
    node = tmp_path / "kvm"
    os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(10, 232))
    assert attempt(open_own_node, str(node)).errno == errno.ENODEV
    assert denied(without.run(open_own_node, str(node)))


@pytest.mark.parametrize(("section", "reason"), [("any", "any"), ("none", "not_allowed")])
def test_whole_section(
    section: str, reason: str, gpus: dict[str, CountedNode], confine: Confine
) -> None:
    workload = confine(f"devices: {section}")
    node = gpus["nvidia0"]
    node.opens()
    for path in (node.path, "/dev/null"):
        outcome = workload.run(open_read, path)
        assert outcome == Outcome() if section == "any" else denied(outcome)
    assert node.opens() == (section == "any")
    assert [event["reason"] for event in workload.events()] == [reason, reason]


def test_files_and_pipes_are_no_devices(confine: Confine, tmp_path: Path) -> None:
    def use(folder: str) -> str:
        os.mkfifo(f"{folder}/pipe")
        os.close(os.open(f"{folder}/pipe", os.O_RDWR))
        Path(folder, "file").write_text("text")
        return Path(folder, "file").read_text() + str(len(list(Path(folder).iterdir())))

    workload = confine("devices: none")
    assert workload.run(use, str(tmp_path)) == Outcome("text2")
    assert workload.events() == []
