# SPDX-License-Identifier: Apache-2.0
"""GPUs as device numbers: what a policy's `gpus` means on this node, and what a number belongs to.

Numbers, never names: a workload can make a node of any name. NVIDIA's major 195 and DRM's 226 are
fixed; the other drivers get theirs at run time, so they are read from /proc/devices each time.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from controlplane.contract.policy_devices import DRM_MAJOR, NVIDIA_MAJOR, DeviceRule

Gpus = Literal["none", "all"] | tuple[int | str, ...]

# Minors of NVIDIA_MAJOR that every use of a GPU opens: nvidiactl, nvidia-modeset.
CONTROL_MINORS = (255, 254)
# Character drivers of GPUs and of what ties GPUs together, as /proc/devices names them.
UVM = "nvidia-uvm"
MAJORS_SECONDS = 2.0
DYNAMIC_DRIVERS = frozenset(
    {
        UVM,
        "nvidia-caps",
        "nvidia-caps-imex-channels",
        "nvidia-fs",
        "nvidia-nvlink",
        "nvidia-nvswitch",
        "nvidia-vgpu-vfio",
        "nvidia-vgpuctl",
        "gdrdrv",
        "kfd",
        "accel",
    }
)


@dataclass(frozen=True)
class Gpu:
    """One GPU. `minor` is that of /dev/nvidiaN; `bus` its PCI address as sysfs writes it."""

    index: int
    uuid: str
    minor: int
    bus: str


FindGpus = Callable[[], list[Gpu] | None]
"""Lists the node's GPUs; None where there is no way to ask."""


def nvml_gpus() -> list[Gpu] | None:
    """The GPUs as NVML counts them; None without the library, the driver or the Python module."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            found.append(
                Gpu(
                    index=index,
                    uuid=_uuid(_text(pynvml.nvmlDeviceGetUUID(handle))),
                    minor=int(pynvml.nvmlDeviceGetMinorNumber(handle)),
                    bus=_bus(_text(pynvml.nvmlDeviceGetPciInfo(handle).busId)),
                )
            )
        return found
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def driver_gpus(root: Path = Path("/")) -> list[Gpu] | None:
    """The same from the driver's own files, for nodes without NVML: it counts in PCI order too."""
    folders = sorted((root / "proc/driver/nvidia/gpus").glob("*"), key=lambda folder: folder.name)
    found = []
    for index, folder in enumerate(folders):
        try:
            text = (folder / "information").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        facts = dict(re.findall(r"^([^:\n]+):\s*(\S+)\s*$", text, re.MULTILINE))
        minor = facts.get("Device Minor", "")
        if not minor.isdigit():
            return None
        uuid = _uuid(facts.get("GPU UUID", ""))
        found.append(Gpu(index=index, uuid=uuid, minor=int(minor), bus=_bus(folder.name)))
    return found or None


def resolve_gpus(
    gpus: Gpus, field_path: str, *, root: Path = Path("/"), find: FindGpus = nvml_gpus
) -> frozenset[DeviceRule]:
    """The device numbers that `gpus` allows. ValueError names the field where a GPU is not found.

    field_path: the field of the policy, for the error. A selection opens the GPUs' own nodes and
    what any of them needs (control, UVM); `all` also what ties GPUs together and slices them.
    """
    if gpus == "none":
        return frozenset()
    majors = dynamic_majors(root)
    if gpus == "all":
        every = {NVIDIA_MAJOR, DRM_MAJOR, *majors}
        return frozenset(DeviceRule("char", major, None) for major in every)
    chosen = [_chosen(gpu, f"{field_path}[{place}]", root, find) for place, gpu in enumerate(gpus)]
    rules = {DeviceRule("char", NVIDIA_MAJOR, minor) for minor in CONTROL_MINORS}
    rules |= {DeviceRule("char", major, None) for major, name in majors.items() if name == UVM}
    for gpu in chosen:
        rules.add(DeviceRule("char", NVIDIA_MAJOR, gpu.minor))
        rules |= _drm_nodes(gpu.bus, root)
    return frozenset(rules)


def dynamic_majors(root: Path = Path("/")) -> dict[int, str]:
    """Majors that GPU drivers were given on this node, with the driver's name."""
    try:
        text = (root / "proc/devices").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    characters, _, _ = text.partition("Block devices:")
    named = re.findall(r"^\s*(\d+) (\S+)$", characters, re.MULTILINE)
    return {int(major): name for major, name in named if name in DYNAMIC_DRIVERS}


def classify(major: int, minor: int, *, root: Path = Path("/")) -> str | None:
    """Which GPU driver a character device belongs to, None for any other device."""
    if major == NVIDIA_MAJOR:
        return {255: "nvidiactl", 254: "nvidia-modeset"}.get(minor, "nvidia")
    if major == DRM_MAJOR:
        return "drm"
    return _majors_of_late(root, int(time.monotonic() / MAJORS_SECONDS)).get(major)


@functools.lru_cache(maxsize=2)
def _majors_of_late(root: Path, period: int) -> dict[int, str]:
    """Dynamic majors, read once in a period: a flood of events shall not read it each time."""
    del period
    return dynamic_majors(root)


def _chosen(gpu: int | str, field_path: str, root: Path, find: FindGpus) -> Gpu:
    known = find() or driver_gpus(root)
    if known is None:
        if isinstance(gpu, int):
            return Gpu(index=gpu, uuid="", minor=gpu, bus="")
        raise ValueError(
            f"{field_path}: {gpu} cannot be looked up: this node has neither NVML nor the driver's "
            "files; load the nvidia driver and install libnvidia-ml, or name the GPU by its index"
        )
    for each in known:
        if gpu in (each.index, each.uuid):
            return each
    present = ", ".join(f"{each.index} ({each.uuid})" for each in known)
    raise ValueError(f"{field_path}: this node has no GPU {gpu}; it has {present or 'none'}")


def _drm_nodes(bus: str, root: Path) -> set[DeviceRule]:
    """card and render nodes of one GPU; none where the driver has no DRM part."""
    rules = set()
    for dev in (root / "sys/bus/pci/devices" / bus / "drm").glob("*/dev") if bus else ():
        match = re.fullmatch(rf"{DRM_MAJOR}:(\d+)\s*", dev.read_text(encoding="ascii"))
        if match is not None:
            rules.add(DeviceRule("char", DRM_MAJOR, int(match.group(1))))
    return rules


def _text(value: str | bytes) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _uuid(text: str) -> str:
    """As the contract normalises it: the prefix as it is, the digits in lower case."""
    prefix, _, digits = text.partition("-")
    return f"{prefix}-{digits.lower()}"


def _bus(text: str) -> str:
    """NVML writes the PCI domain with eight digits, sysfs and the driver with four."""
    domain, _, rest = text.lower().partition(":")
    return f"{domain[-4:]}:{rest}"
