# SPDX-License-Identifier: Apache-2.0
"""What a guard's event tells (struct event, `guard`), in words."""

from __future__ import annotations

import signal
from typing import Any

from enforcer import abi
from enforcer.abi import Guard, Operation

# include/uapi/linux: capability.h, magic.h, socket families
CAPABILITIES = {
    12: "CAP_NET_ADMIN", 16: "CAP_SYS_MODULE", 17: "CAP_SYS_RAWIO", 22: "CAP_SYS_BOOT",
}  # fmt: skip
FILE_SYSTEMS = {
    0x9FA0: "proc", 0x62656572: "sysfs", 0x63677270: "cgroup2", 0x27E0EB: "cgroup",
    0xCAFE4A11: "bpf", 0x74726163: "tracefs", 0x64626720: "debugfs", 0x73636673: "securityfs",
    0x42494E4D: "binfmt_misc", 0x62656570: "configfs", 0x6165676C: "pstore",
    0xDE5E81E4: "efivarfs", 0x7655821: "resctrl",
}  # fmt: skip
FAMILIES = {2: "ipv4", 10: "ipv6", 17: "packet", 40: "vsock"}


def described(raw: abi.EventGuard) -> dict[str, Any]:
    """The event's object. detail and target are None where the operation has none."""
    return {
        "guard": _word(Guard, raw.guard),
        "operation": _word(Operation, raw.operation),
        "detail": _detail(raw.operation, raw.detail),
        "target": raw.target or None,
    }


def _word(names: type[Guard | Operation], number: int) -> str:
    try:
        return names(number).name.lower()
    except ValueError:
        return str(number)


def _detail(operation: int, number: int) -> str | None:
    match operation:
        case Operation.SIGNAL:
            return _signal(number)
        case Operation.CAPABILITY:
            return CAPABILITIES.get(number, str(number))
        case Operation.WRITE | Operation.REMOVE | Operation.RENAME:
            return FILE_SYSTEMS.get(number, hex(number))
        case Operation.RECEIVE | Operation.INHERIT:
            return FAMILIES.get(number, str(number))
        case Operation.BPF:
            return str(number)
    return None


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
