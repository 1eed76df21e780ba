# SPDX-License-Identifier: Apache-2.0
"""A policy's GPUs become exactly the device numbers that they are on this node."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from controlplane.contract.policy_devices import DeviceRule
from enforcer.gpu import Gpu, classify, driver_gpus, dynamic_majors, nvml_gpus, resolve_gpus

UUIDS = tuple(f"GPU-{digit * 8}-0000-0000-0000-000000000000" for digit in "ab")
# The second GPU by index has the first minor: indexes and minors are not the same thing.
NVML = [Gpu(0, UUIDS[0], 1, "0000:3b:00.0"), Gpu(1, UUIDS[1], 0, "0000:86:00.0")]
DEVICES = """\
Character devices:
  1 mem
195 nvidia
195 nvidia-modeset
195 nvidiactl
226 drm
234 nvidia-nvswitch
235 nvidia-caps
236 nvidia-caps-imex-channels
237 nvidia-nvlink
240 kfd
508 nvidia-uvm

Block devices:
  7 loop
511 nvidia-uvm
"""


@pytest.fixture
def node(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/devices").write_text(DEVICES)
    for bus, card, render in (("0000:3b:00.0", 1, 129), ("0000:86:00.0", 2, 130)):
        for name, minor in ((f"card{card}", card), (f"renderD{render}", render)):
            folder = tmp_path / "sys/bus/pci/devices" / bus / "drm" / name
            folder.mkdir(parents=True)
            (folder / "dev").write_text(f"226:{minor}\n")
    return tmp_path


def _shown(rules: frozenset[DeviceRule]) -> set[str]:
    return {str(rule) for rule in rules}


def test_none_is_no_device(node: Path) -> None:
    assert resolve_gpus("none", "devices.gpus", root=node) == frozenset()


def test_all_is_every_minor_of_every_gpu_driver(node: Path) -> None:
    found = resolve_gpus("all", "devices.gpus", root=node, find=lambda: None)
    majors = (195, 226, 234, 235, 236, 237, 240, 508)
    assert _shown(found) == {f"char {major}:*" for major in majors}


def test_all_without_any_driver_is_the_fixed_majors(tmp_path: Path) -> None:
    found = resolve_gpus("all", "devices.gpus", root=tmp_path, find=lambda: None)
    assert _shown(found) == {"char 195:*", "char 226:*"}


@pytest.mark.parametrize("gpu", [1, UUIDS[1]])
def test_a_chosen_gpu_is_its_minor_its_drm_nodes_control_and_uvm(
    node: Path, gpu: int | str
) -> None:
    found = resolve_gpus((gpu,), "devices.gpus", root=node, find=lambda: NVML)
    assert _shown(found) == {
        *("char 195:0", "char 195:254", "char 195:255"),
        *("char 508:*", "char 226:2", "char 226:130"),
    }


def test_two_chosen_gpus(node: Path) -> None:
    found = _shown(resolve_gpus((0, UUIDS[1]), "devices.gpus", root=node, find=lambda: NVML))
    assert {"char 195:0", "char 195:1", "char 226:129", "char 226:130"} <= found


def test_without_any_answer_an_index_is_the_minor(tmp_path: Path) -> None:
    found = resolve_gpus((3,), "devices.gpus", root=tmp_path, find=lambda: None)
    assert _shown(found) == {"char 195:3", "char 195:254", "char 195:255"}


def test_without_nvml_the_drivers_files_answer(node: Path) -> None:
    for bus, uuid, minor in (("0000:86:00.0", UUIDS[1], 0), ("0000:3b:00.0", UUIDS[0], 1)):
        folder = node / "proc/driver/nvidia/gpus" / bus
        folder.mkdir(parents=True)
        (folder / "information").write_text(
            "Model: \t\t NVIDIA H200\nIRQ:   \t\t 18\n"
            f"GPU UUID: \t {uuid}\nBus Location: \t {bus}\nDevice Minor: \t {minor}\n"
        )
    assert driver_gpus(node) == NVML
    found = resolve_gpus((UUIDS[0],), "devices.gpus", root=node, find=lambda: None)
    assert "char 195:1" in _shown(found)


def test_a_uuid_that_nothing_can_look_up_is_named_with_its_field(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be looked up") as refusal:
        resolve_gpus((0, UUIDS[0]), "grants.trainer.devices.gpus", root=tmp_path, find=lambda: None)
    assert str(refusal.value) == (
        f"grants.trainer.devices.gpus[1]: {UUIDS[0]} cannot be looked up: this node has neither"
        " NVML nor the driver's files; load the nvidia driver and install libnvidia-ml, or name"
        " the GPU by its index"
    )


@pytest.mark.parametrize("gpu", [2, "GPU-cccccccc-0000-0000-0000-000000000000"])
def test_a_gpu_that_the_node_lacks_is_named_with_those_it_has(
    tmp_path: Path, gpu: int | str
) -> None:
    with pytest.raises(ValueError, match="this node has no GPU") as refusal:
        resolve_gpus((gpu,), "devices.gpus", root=tmp_path, find=lambda: NVML)
    present = f"0 ({UUIDS[0]}), 1 ({UUIDS[1]})"
    assert str(refusal.value) == f"devices.gpus[0]: this node has no GPU {gpu}; it has {present}"


class _StandInError(Exception):
    """In the place of pynvml's NVMLError."""


def _stand_in(monkeypatch: pytest.MonkeyPatch, **functions: object) -> list[str]:
    """Puts a module in pynvml's place: two GPUs, in NVML's own spelling. Returns its shutdowns."""
    shutdowns: list[str] = []
    module = types.ModuleType("pynvml")
    replies = {
        "NVMLError": _StandInError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: shutdowns.append("shutdown"),
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": lambda handle: UUIDS[handle].upper().encode(),
        "nvmlDeviceGetMinorNumber": lambda handle: 1 - handle,
        "nvmlDeviceGetPciInfo": lambda handle: types.SimpleNamespace(
            busId=("00000000:3B:00.0", "00000000:86:00.0")[handle]
        ),
        **functions,
    }
    vars(module).update(replies)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return shutdowns


def test_nvml_is_read_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    shutdowns = _stand_in(monkeypatch)
    assert nvml_gpus() == NVML
    assert shutdowns == ["shutdown"]


@pytest.mark.parametrize("failing", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetUUID"])
def test_nvml_that_fails_is_nvml_that_is_absent(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object) -> None:
        raise _StandInError

    _stand_in(monkeypatch, **{failing: fail})
    assert nvml_gpus() is None


def test_dynamic_majors_are_those_of_character_devices(node: Path) -> None:
    assert dynamic_majors(node)[508] == "nvidia-uvm"
    assert 511 not in dynamic_majors(node)


@pytest.mark.parametrize(
    ("major", "minor", "name"),
    [
        (195, 0, "nvidia"),
        (195, 254, "nvidia-modeset"),
        (195, 255, "nvidiactl"),
        (226, 128, "drm"),
        (508, 0, "nvidia-uvm"),
        (235, 1, "nvidia-caps"),
        (240, 0, "kfd"),
        (1, 3, None),
        (511, 0, None),
    ],
)
def test_a_number_is_classified_by_its_driver(
    node: Path, major: int, minor: int, name: str | None
) -> None:
    assert classify(major, minor, root=node) == name
