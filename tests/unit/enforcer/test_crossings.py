# SPDX-License-Identifier: Apache-2.0
"""A guard's event names what was attempted in words, and numbers that it does not know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from enforcer import abi
from enforcer.abi import Guard, Operation
from enforcer.crossings import CAPABILITIES, FILE_SYSTEMS, described

BPF = Path(__file__).parents[3] / "bpf"


@pytest.mark.parametrize(
    ("guard", "operation", "number", "detail"),
    [
        (Guard.SIGNAL, Operation.SIGNAL, 15, "SIGTERM"),
        (Guard.SIGNAL, Operation.SIGNAL, 99, "99"),
        (Guard.NETWORK, Operation.CAPABILITY, 12, "CAP_NET_ADMIN"),
        (Guard.KERNEL, Operation.CAPABILITY, 21, "21"),
        (Guard.KERNEL, Operation.WRITE, 0x9FA0, "proc"),
        (Guard.KERNEL, Operation.WRITE, 0x1234, "0x1234"),
        (Guard.PINS, Operation.REMOVE, 0xCAFE4A11, "bpf"),
        (Guard.DESCRIPTORS, Operation.RECEIVE, 10, "ipv6"),
        (Guard.DESCRIPTORS, Operation.INHERIT, 44, "44"),
        (Guard.KERNEL, Operation.BPF, 5, "5"),
        (Guard.MOUNT, Operation.MOUNT, 0, None),
        (Guard.TRACE, Operation.ATTACH, 0, None),
    ],
)
def test_the_detail_is_a_word_where_there_is_one(
    guard: Guard, operation: Operation, number: int, detail: str | None
) -> None:
    assert described(abi.EventGuard(guard, operation, number, 0)) == {
        "guard": guard.name.lower(),
        "operation": operation.name.lower(),
        "detail": detail,
        "target": None,
    }


def test_what_a_later_version_tells_is_a_number() -> None:
    assert described(abi.EventGuard(77, 88, 1, 5)) == {
        "guard": "77", "operation": "88", "detail": None, "target": 5,
    }  # fmt: skip


def test_every_number_of_the_programs_has_a_word() -> None:
    source = (BPF / "guard_kernel.c").read_text(encoding="utf-8")
    found = {name: int(number, 0) for name, number in re.findall(r"#define (\w+) (\w+)", source)}
    assert {name: found[name] for name in CAPABILITIES.values()} == {
        name: number for number, name in CAPABILITIES.items()
    }
    assert set(FILE_SYSTEMS) == {n for name, n in found.items() if name.endswith("_MAGIC")}
