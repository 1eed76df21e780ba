# SPDX-License-Identifier: Apache-2.0
"""The kernel programs and user space mean the same: each number, size and offset, both ways."""

from __future__ import annotations

import ctypes
import enum
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enforcer import abi
from tests.unit.bpf.header import Facts, Header, compiled_facts, read_header

PATH = Path(__file__).parents[3] / "bpf/shared.h"
HEADER = read_header(PATH.read_text(encoding="utf-8"))
INTEGERS: dict[Any, str] = {
    ctypes.c_uint8: "u8",
    ctypes.c_uint16: "u16",
    ctypes.c_uint32: "u32",
    ctypes.c_uint64: "u64",
    ctypes.c_int32: "s32",
    ctypes.c_char: "char",
}


def _c_name(python_name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", python_name).lower()


def _classes(base: type) -> dict[str, Any]:
    """The classes of abi that derive from `base`, by the name they have in C."""
    return {
        _c_name(name): value
        for name, value in vars(abi).items()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == abi.__name__
    }


def _kind(ctype: Any) -> str:
    element = getattr(ctype, "_type_", None)
    if isinstance(element, type):
        return f"{INTEGERS[element]}[]" if element in INTEGERS else "struct"
    return INTEGERS.get(ctype, "struct")


def _member_facts(ctype: Any, prefix: str, base: int, header: Header) -> Iterator[tuple[str, str]]:
    anonymous = getattr(ctype, "_anonymous_", ())
    for name, member in ctype._fields_:
        descriptor = getattr(ctype, name)
        place = base + descriptor.offset
        if name in anonymous:
            yield from _member_facts(member, prefix, place, header)
            continue
        yield prefix + name, f"at {place}, {ctypes.sizeof(member)} bytes, {_kind(member)}"
        inline = isinstance(member, type) and issubclass(member, ctypes.Structure)
        if inline and _c_name(member.__name__) not in header.structs:
            yield from _member_facts(member, f"{prefix}{name}.", place, header)


def python_facts(header: Header) -> Facts:
    """The same facts as abi.py has them."""
    facts = {name: str(value) for name, value in vars(abi).items() if isinstance(value, int)}
    for name, members in _classes(enum.IntEnum).items() | _classes(enum.IntFlag).items():
        prefix = _prefix(header.enums[name]) if name in header.enums else f"{name}."
        facts |= {prefix + member.name: str(int(member)) for member in members}
    # Parts without a name in C have one here: they are shown as members of what holds them.
    inline = re.compile("|".join(f"{name}_\\w+" for name in header.structs))
    for name, ctype in _classes(ctypes.Structure).items():
        if name in header.structs or not inline.fullmatch(name):
            facts[f"struct {name}"] = f"{ctypes.sizeof(ctype)} bytes"
            facts |= dict(_member_facts(ctype, f"{name}.", 0, header))
    return facts


def _prefix(members: list[str]) -> str:
    first, last = min(members), max(members)
    common = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    return first[: first.rfind("_", 0, common) + 1]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    return compiled_facts(PATH, HEADER, tmp_path_factory.mktemp("layouts"))


def test_no_name_is_on_one_side_only(kernel: Facts) -> None:
    ours = python_facts(HEADER)
    assert (sorted(kernel.keys() - ours.keys()), sorted(ours.keys() - kernel.keys())) == ([], [])


def test_every_number_size_offset_and_type_is_equal(kernel: Facts) -> None:
    assert python_facts(HEADER) == kernel


def test_something_is_compared() -> None:
    assert len(HEADER.defines) > 20
    assert len(HEADER.enums) > 6
    assert "event.net.address" in python_facts(HEADER)
    assert len(HEADER.structs) > 15


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("u64 sequence;\n\tu64 delivered;", "u64 delivered;\n\tu64 sequence;", "workload.sequence"),
        ("\tu64 suppressed;", "\tu64 withheld;", "workload.withheld"),
        ("\tu64 call;\n\tu64 start;\t\t/* the", "\tu64 start;\t\t/* the", "thread_call.call"),
        ("u32 owner;", "s32 owner;", "control.owner"),
        ("REASON_PORT = 5,", "REASON_PORT = 50,", "REASON_PORT"),
        ("KIND_EXEC = 4,", "KIND_START = 4,", "KIND_START"),
        ("#define MAX_POLICIES 1024", "#define MAX_POLICIES 512", "MAX_POLICIES"),
        ("#define NO_RULE 0xffff", "#define NO_RULE 0xffff\n#define NEW_LIMIT 7", "NEW_LIMIT"),
        ("struct policy {", "struct extra { u32 number; };\nstruct policy {", "struct extra"),
        ("struct path_verdict {", "struct verdict_of_path {", "struct path_verdict"),
        ("\t\t\tu8 address[16];\n\t\t\tu16 port;", "\t\t\tu16 port;\n\t\t\tu8 address[16];",
         "event.net.port"),
    ],
)  # fmt: skip
def test_a_change_of_one_side_is_found(old: str, new: str, name: str, tmp_path: Path) -> None:
    text = PATH.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = tmp_path / "shared.h"
    path.write_text(text.replace(old, new))
    header = read_header(path.read_text())
    theirs = compiled_facts(path, header, tmp_path)
    ours = python_facts(HEADER)
    assert theirs.get(name) != ours.get(name)
