# SPDX-License-Identifier: Apache-2.0
"""Compiled programs as bytes, and the numbers of one load put into them.

The compiler sees placeholders, so that its result is the same at each start. A map is its
position in the flags, in a 64-bit load that says "this is a map's descriptor"; the program set
is OWN_SET in a plain 64-bit load. Source: BPF_PSEUDO_MAP_FD in include/uapi/linux/bpf.h;
LLVM's BPFMCCodeEmitter.cpp (both loads come from llvm.bpf.pseudo, which takes 32 bits and which
nothing folds).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

INSTRUCTION = struct.Struct("<BBhi")
LOAD_64 = 0x18  # BPF_LD | BPF_DW | BPF_IMM: takes two instructions
PSEUDO_MAP_DESCRIPTOR = 1
# Below 2^31: for a constant of its own clang makes no 64-bit load of it.
OWN_SET = 0x4C696374


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
        elif source == 0 and (low, high) == (OWN_SET, 0):
            INSTRUCTION.pack_into(result, position, operation, registers, offset, number)
        position += 2 * size
    return bytes(result)
