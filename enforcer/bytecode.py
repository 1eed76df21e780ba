# SPDX-License-Identifier: Apache-2.0
"""Compiled programs as bytes, and the numbers of one load put into them.

The compiler sees placeholders, so that its result is the same at each start. A map is its
position in the flags, in a 64-bit load that says "this is a map's descriptor"; the program set
is OWN_SET in a plain 64-bit load. Source: BPF_PSEUDO_MAP_FD in include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

INSTRUCTION = struct.Struct("<BBhi")
LOAD_64 = 0x18  # BPF_LD | BPF_DW | BPF_IMM: takes two instructions
PSEUDO_MAP_DESCRIPTOR = 1
OWN_SET = 0x4C6963746F725365


@dataclass(frozen=True)
class Bytecode:
    """What the compiler made of one set of sources: each function's instructions, by name."""

    license: str
    kernel_version: int
    functions: dict[str, bytes]


def patched(code: bytes, maps: Sequence[int], number: int) -> bytes:
    """`code` for the maps with these descriptors, in the flags' order, as program set `number`.

    ValueError where it names a map that is not among them, or is not whole.
    """
    result = bytearray(code)
    size = INSTRUCTION.size
    if len(code) % size:
        raise ValueError(f"{len(code)} bytes are no whole instructions")
    position = 0
    while position < len(code):
        operation, registers, offset, low = INSTRUCTION.unpack_from(code, position)
        if operation != LOAD_64:
            position += size
            continue
        if position + 2 * size > len(code):
            raise ValueError("a 64-bit load has no second half")
        high = INSTRUCTION.unpack_from(code, position + size)[3]
        source = registers >> 4
        if source == PSEUDO_MAP_DESCRIPTOR:
            if high or not 0 <= low < len(maps):
                raise ValueError(f"instruction {position // size} names map {low} of {len(maps)}")
            INSTRUCTION.pack_into(result, position, operation, registers, offset, maps[low])
        elif source == 0 and (high << 32) | (low & 0xFFFFFFFF) == OWN_SET:
            INSTRUCTION.pack_into(result, position, operation, registers, offset, number)
            INSTRUCTION.pack_into(result, position + size, 0, 0, 0, 0)
        position += 2 * size
    return bytes(result)
