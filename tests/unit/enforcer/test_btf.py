# SPDX-License-Identifier: Apache-2.0
"""The kernel's structs as C have each field where the kernel has it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer import btf
from enforcer.btf import KIND_STRUCT, STRUCTS, KernelTypes, kernel_header

TYPES = """\
#include <stdbool.h>
#include <stddef.h>
typedef unsigned short u16;
typedef unsigned int u32, dev_t;
typedef unsigned long long u64;
typedef unsigned short umode_t;
"""


@pytest.fixture
def types() -> Iterator[KernelTypes]:
    made = KernelTypes()
    yield made
    made.close()


def test_a_c_compiler_places_every_field_as_the_kernel_does(
    types: KernelTypes, tmp_path: Path
) -> None:
    checks = []
    for struct, fields in STRUCTS.items():
        for text in fields:
            name = text.split()[-1].lstrip("*").removesuffix("[0]")
            offset, size = types.field(struct, name)
            member = f"((struct {struct} *)0)->{name}"
            checks.append(f'_Static_assert(offsetof(struct {struct}, {name}) == {offset}, "at");')
            checks.append(f'_Static_assert(sizeof({member}) == {size}, "{struct}.{name}: size");')
        checks.append(f'_Static_assert(sizeof(struct {struct}) == {types.size(struct)}, "size");')
    parent, _ = types.field("cgroup_subsys_state", "parent")
    checks.append(f'_Static_assert(offsetof(struct cgroup, parent) == {parent}, "parent");')
    source = tmp_path / "kernel.c"
    source.write_text(TYPES + kernel_header() + "\n".join(checks) + "\n")
    command = ["gcc", "-std=gnu11", "-fsyntax-only", "-Werror", str(source)]
    compiler = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compiler.stderr == ""
    assert len(checks) > 40


def test_fields_of_unnamed_parts_are_found(types: KernelTypes) -> None:
    """sk_protocol and skc_family lie in parts of struct sock."""
    assert types.field("sock", "skc_family") == (16, 2)
    assert types.field("socket", "sk")[1] == 8


@pytest.mark.parametrize(
    ("struct", "field"), [("task_struct", "no_such_field"), ("no_such_struct", "pid")]
)
def test_what_the_kernel_lacks_is_named(struct: str, field: str, types: KernelTypes) -> None:
    with pytest.raises(LookupError, match=f"no struct {struct} with a field {field}"):
        types.field(struct, field)


def test_what_the_kernel_has_is_told(types: KernelTypes) -> None:
    assert types.has("task_struct", KIND_STRUCT)
    assert not types.has("no_such_struct", KIND_STRUCT)


def test_a_kernel_without_btf_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        def btf__load_vmlinux_btf(self) -> None:
            return None

    monkeypatch.setattr(btf, "library", Without)
    with pytest.raises(OSError, match="/sys/kernel/btf/vmlinux: this kernel has no BTF"):
        KernelTypes()
