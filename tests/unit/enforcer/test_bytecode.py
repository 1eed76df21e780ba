# SPDX-License-Identifier: Apache-2.0
"""Only what the compiler left open is filled in, and only with the numbers of this load."""

from __future__ import annotations

import pytest

from enforcer.bytecode import INSTRUCTION, LOAD_64, OWN_SET, PSEUDO_MAP_DESCRIPTOR, patched

EXIT = INSTRUCTION.pack(0x95, 0, 0, 0)
# The placeholder as a number in a plain move.
MOVE = INSTRUCTION.pack(0xB7, 1, 0, OWN_SET)
MAPS = [30, 41, 7]


def load(value: int, source: int = 0, register: int = 1) -> bytes:
    """A 64-bit load into a register."""
    raw = value.to_bytes(8, "little")
    low, high = (int.from_bytes(part, "little", signed=True) for part in (raw[:4], raw[4:]))
    first = INSTRUCTION.pack(LOAD_64, source << 4 | register, 0, low)
    return first + INSTRUCTION.pack(0, 0, 0, high)


def map_load(value: int, register: int = 1) -> bytes:
    return load(value, PSEUDO_MAP_DESCRIPTOR, register)


def test_maps_and_the_set_are_filled_in() -> None:
    code = map_load(2) + load(OWN_SET, register=3) + map_load(0, register=9) + EXIT
    wanted = map_load(7) + load(5, register=3) + map_load(30, register=9) + EXIT
    assert patched(code, MAPS, 5) == wanted


@pytest.mark.parametrize(
    "code",
    [
        MOVE + EXIT,
        load(2) + EXIT,
        load(OWN_SET + 1) + load(OWN_SET | 1 << 32) + EXIT,
        load(OWN_SET, source=4) + EXIT,
        load(0xFFFFFFFF_FFFFFFFF) + EXIT,
        b"",
    ],
    ids=["a move", "a number", "near the placeholder", "another kind", "all bits", "nothing"],
)
def test_all_else_stays(code: bytes) -> None:
    assert patched(code, MAPS, 5) == code


def test_the_second_half_of_a_load_is_no_instruction() -> None:
    """Its bytes can look like the first half of a map's load."""
    second = load(OWN_SET)[:8]
    code = load(1)[:8] + second + EXIT
    assert patched(code, MAPS, 5) == code


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (EXIT + map_load(3), "instruction 1 names map 3 of 3"),
        (map_load(0xFFFFFFFF), "instruction 0 names map -1 of 3"),
        (map_load(1 << 32), "instruction 0 names map 0 of 3"),
        (map_load(1)[:8], "a 64-bit load has no second half"),
        (EXIT[:5], "5 bytes are no whole instructions"),
    ],
)
def test_what_cannot_be_is_refused(code: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        patched(code, MAPS, 5)
