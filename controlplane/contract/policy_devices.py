# SPDX-License-Identifier: Apache-2.0
"""Devices as policies name them: numbers, named devices and sets, GPUs by index or UUID.

Numbers are the kernel's registered ones (Documentation/admin-guide/devices.txt). Majors that a
driver gets at run time differ from node to node: the enforcer finds those, never the contract.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from .policy_faults import expected, shown
from .policy_values import text

DeviceKind = Literal["char", "block"]

NVIDIA_MAJOR = 195
DRM_MAJOR = 226
GPU_MAJORS = (NVIDIA_MAJOR, DRM_MAJOR)


class DeviceRule(NamedTuple):
    """One device number; `minor` None stands for every minor of the major."""

    kind: DeviceKind
    major: int
    minor: int | None

    def __str__(self) -> str:
        return f"{self.kind} {self.major}:{'*' if self.minor is None else self.minor}"


class DeviceNumbers(NamedTuple):
    """Major and minor as a policy writes them; `minor` None is `*`."""

    major: int
    minor: int | None

    def __str__(self) -> str:
        return f"{self.major}:{'*' if self.minor is None else self.minor}"


def _char(major: int, *minors: int) -> tuple[DeviceRule, ...]:
    return tuple(DeviceRule("char", major, minor) for minor in minors)


# /dev/pts/* are the Unix98 slaves: 8 majors, all minors.
_PSEUDO_TERMINALS = tuple(DeviceRule("char", major, None) for major in range(136, 144))

NAMED_DEVICES: dict[str, tuple[DeviceRule, ...]] = {
    # null, zero, full, random, urandom; tty, console, ptmx; pts/*: what any container gets.
    "standard": _char(1, 3, 5, 7, 8, 9) + _char(5, 0, 1, 2) + _PSEUDO_TERMINALS,
    "fuse": _char(10, 229),
    "infiniband": (DeviceRule("char", 231, None),),
    "kvm": _char(10, 232),
    "tun": _char(10, 200),
}

NUMBERS_PATTERN = r"^([0-9]{1,7}):([0-9]{1,7}|\*)$"
_NUMBERS = re.compile(NUMBERS_PATTERN[1:-1])
# The kernel's dev_t: 12 bits of major, 20 of minor (include/linux/kdev_t.h).
_MAJORS, _MINORS = 1 << 12, 1 << 20

_GPU_UUID = re.compile(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Minors 254 and 255 of nvidia's major are the control nodes, not GPUs.
_LAST_GPU_INDEX = 253


def device_name(value: object) -> str:
    written = text(value)
    if written in NAMED_DEVICES:
        return written
    if written.startswith("/"):
        raise ValueError(
            f"{shown(written)} is a path, and a path says nothing about the device behind it: "
            'write its numbers, for example {char: "10:229"}'
        )
    known = ", ".join(sorted(NAMED_DEVICES))
    hint = "; GPUs go into 'gpus'" if "nvidia" in written or "gpu" in written.lower() else ""
    raise ValueError(f"{shown(written)} is no device that Lictor has a name for ({known}){hint}")


def char_numbers(value: object) -> DeviceNumbers:
    numbers = block_numbers(value)
    if numbers.major in GPU_MAJORS:
        raise ValueError(f"{shown(value)} is a GPU: write it in 'gpus' (all, an index or a UUID)")
    return numbers


def block_numbers(value: object) -> DeviceNumbers:
    match = _NUMBERS.fullmatch(text(value))
    if match is None:
        raise ValueError(f'{shown(value)} is not MAJOR:MINOR or MAJOR:*, for example "10:229"')
    major = int(match.group(1))
    minor = None if match.group(2) == "*" else int(match.group(2))
    if major >= _MAJORS or (minor is not None and minor >= _MINORS):
        raise ValueError(f"{shown(value)} is out of range: majors end at 4095, minors at 1048575")
    return DeviceNumbers(major, minor)


def gpu(value: object) -> int | str:
    """An index as NVML counts, or a GPU's UUID in lower case."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise expected("a GPU's index or UUID", value)
    if isinstance(value, int):
        if not 0 <= value <= _LAST_GPU_INDEX:
            raise ValueError(f"{shown(value)} is not a GPU's index (0 to {_LAST_GPU_INDEX})")
        return value
    if value.startswith("MIG-"):
        raise ValueError(f"{shown(value)} is not built yet: MIG slices come with a later version")
    prefix, _, digits = value.partition("-")
    uuid = f"{prefix}-{digits.lower()}"
    if not _GPU_UUID.fullmatch(uuid):
        raise ValueError(f"{shown(value)} is not a GPU's index or a UUID as nvidia-smi -L shows it")
    return uuid


GPUS_SCHEMA = {
    "anyOf": [
        {"enum": ["none", "all"]},
        {"type": "array", "items": {"type": ["integer", "string"]}, "uniqueItems": True},
    ]
}
