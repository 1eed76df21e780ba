# SPDX-License-Identifier: Apache-2.0
"""GPUs are closed and opened by number, whatever the node is called and however it is opened."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.guest.attempts import sockets
from tests.kernel.guest.attempts.devices import (
    make_node,
    open_below_root,
    open_bind_mount,
    open_device_file_system,
    open_extensible,
    open_handle,
    open_link,
    open_of_other_process,
    open_overlay,
    open_own_file_system,
    open_own_node,
    open_read,
    open_write,
    reopen_path_descriptor,
)
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.nodes import GPU_NODES, CountedNode
from tests.kernel.guest.programs import compiled, wait_until
from tests.kernel.guest.world import Event, Lictor, Workload, denied, expected, facts

DRM, FIRST_RENDER_NODE = 226, 128
NO_GPU = "devices: {allow: [standard], gpus: none}"
GRANTED = f"{NO_GPU}\ngrants: {{trainer: {{devices: {{gpus: all}}}}}}"
WAYS = {
    "read": open_read,
    "write": open_write,
    "node-of-another-name": open_own_node,
    "symbolic-link": open_link,
    "reopened-path-descriptor": reopen_path_descriptor,
    "openat2": open_extensible,
    "file-handle": open_handle,
    "root-of-another-process": open_of_other_process,
    "bind-mount": open_bind_mount,
    "own-file-system": open_own_file_system,
    "device-file-system": open_device_file_system,
    "overlay": open_overlay,
    "chroot": open_below_root,
}


def device(workload: Workload, node: CountedNode, decision: str, reason: str, **rest: Any) -> Event:
    class_ = "nvidia" if node.name in ("nvidia0", "nvidia1") else node.name
    return expected(
        workload, "device", decision, reason,
        type="char", major=node.major, minor=node.minor, **{"class": class_}, **rest,
    )  # fmt: skip


@pytest.fixture(scope="module")
def without(lictor: Lictor, gpus: dict[str, CountedNode]) -> Iterator[Workload]:
    """May open the standard devices and no GPU."""
    with lictor.confined(NO_GPU) as workload:
        yield workload


@pytest.mark.parametrize("way", WAYS)
def test_gpu_is_not_opened(way: str, gpus: dict[str, CountedNode], without: Workload) -> None:
    node, action = gpus["nvidia0"], WAYS[way]
    node.opens()
    assert attempt(action, node.path) == Outcome()
    assert node.opens() == 1
    without.mark()

    assert denied(without.run(action, node.path))

    assert node.opens() == 0
    assert [facts(event) for event in without.fresh_events()] == [
        device(without, node, "denied", "not_allowed")
    ]


@pytest.mark.parametrize("name", GPU_NODES)
def test_every_node_of_a_gpu_driver_is_closed(
    name: str, gpus: dict[str, CountedNode], without: Workload
) -> None:
    node = gpus[name]
    node.opens()
    assert attempt(open_read, node.path) == Outcome()
    assert node.opens() == 1
    without.mark()
    assert denied(without.run(open_read, node.path))
    assert node.opens() == 0
    assert [facts(event) for event in without.fresh_events()] == [
        device(without, node, "denied", "not_allowed")
    ]


@pytest.mark.parametrize("way", ["open", "openat2", "worker"])
def test_open_by_io_uring_is_judged(
    way: str, gpus: dict[str, CountedNode], without: Workload
) -> None:
    node, arguments = gpus["nvidia0"], (compiled("uring"), way, gpus["nvidia0"].path)
    node.opens()
    assert attempt(sockets.program, *arguments).errno is None
    assert node.opens() == 1
    assert denied(without.run(sockets.program, *arguments))
    assert node.opens() == 0


@pytest.mark.parametrize("owner", ["inherited", "another process's"])
def test_descriptor_from_outside_cannot_be_reopened(
    owner: str, gpus: dict[str, CountedNode], without: Workload
) -> None:
    node = gpus["nvidia0"]
    descriptor = os.open(node.path, os.O_RDONLY)
    process = "self" if owner == "inherited" else os.getpid()
    node.opens()
    try:
        assert attempt(open_read, f"/proc/{process}/fd/{descriptor}") == Outcome()
        assert node.opens() == 1
        assert denied(without.run(open_read, f"/proc/{process}/fd/{descriptor}"))
        assert node.opens() == 0
    finally:
        os.close(descriptor)


def test_looking_at_a_device_is_free(gpus: dict[str, CountedNode], without: Workload) -> None:
    def look(path: str) -> bool:
        descriptor = os.open(path, os.O_PATH)
        found = stat.S_ISCHR(os.fstat(descriptor).st_mode) and os.access(path, os.R_OK)
        os.close(descriptor)
        return found

    without.mark()
    assert without.run(look, gpus["nvidia0"].path) == Outcome(value=True)
    assert without.run(make_node, gpus["nvidia0"].path) == Outcome()
    assert without.fresh_events() == []


def opened(gpus: dict[str, CountedNode], workload: Workload) -> list[str]:
    """Try every GPU node inside; names of those that were really opened, which must agree."""
    found = []
    for name, node in gpus.items():
        node.opens()
        outcome = workload.run(open_read, node.path)
        assert denied(outcome) or outcome == Outcome()
        assert node.opens() == (0 if denied(outcome) else 1)
        if not denied(outcome):
            found.append(name)
    return found


def test_grant_opens_all_gpus_for_those_who_hold_it(
    gpus: dict[str, CountedNode], confine: Confine
) -> None:
    assert opened(gpus, confine(GRANTED)) == []
    trainer = confine(GRANTED, grants=["trainer"])
    assert opened(gpus, trainer) == list(GPU_NODES)
    assert [facts(event) for event in trainer.events()] == [
        device(trainer, node, "allowed", "rule", rule="grants.trainer.devices.gpus")
        for node in gpus.values()
    ]


def test_one_gpu_comes_with_control_and_memory_but_no_other(
    gpus: dict[str, CountedNode], confine: Confine
) -> None:
    workload = confine("devices: {allow: [standard], gpus: [1]}")
    assert opened(gpus, workload) == ["nvidia1", "nvidiactl", "nvidia-uvm"]


def test_driver_loaded_after_the_policy_is_covered(confine: Confine) -> None:
    """`gpus: all` finds majors when a driver gets them; `none` never needs to know."""
    base, trainer = confine(GRANTED), confine(GRANTED, grants=["trainer"])
    node = CountedNode("nvidia-nvswitch", 0, 0)
    try:
        assert denied(base.run(open_read, node.path))
        assert node.opens() == 0
        wait_until(
            lambda: trainer.run(open_read, node.path) == Outcome(), "the grant to follow the driver"
        )
        assert node.opens() == 1
    finally:
        node.close()


def test_render_node_is_a_gpu(confine: Confine) -> None:
    """A real one of vgem's where the kernel has it, else one at the same numbers."""
    vgem = subprocess.run(["modprobe", "vgem"], capture_output=True, check=False).returncode == 0
    node = None if vgem else CountedNode("renderD128", DRM, FIRST_RENDER_NODE)
    path = "/dev/dri/renderD128" if vgem else "/dev/renderD128"
    try:
        wait_until(Path(path).exists, f"{path} to appear")
        assert attempt(open_read, path) == Outcome()
        without, holding = confine(NO_GPU), confine("devices: {gpus: all}")
        assert denied(without.run(open_read, path))
        (event,) = without.events()
        assert (event["object"]["major"], event["object"]["class"]) == (DRM, "drm")
        assert holding.run(open_read, path) == Outcome()
    finally:
        if node is not None:
            node.close()
