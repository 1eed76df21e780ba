# SPDX-License-Identifier: Apache-2.0
"""Calls that fail say of what, with the kernel's reason; they leak nothing."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from enforcer import libbpf


def test_a_pin_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        libbpf.open_pin(str(tmp_path / "absent"))
    assert caught.value.filename == str(tmp_path / "absent")


def test_a_pin_outside_a_bpf_file_system_is_refused(tmp_path: Path) -> None:
    descriptor = libbpf.create_map(libbpf.MAP_ARRAY, "number", 4, 8, 1, 0)
    try:
        with pytest.raises(OSError, match=str(tmp_path / "pin")):
            libbpf.pin(descriptor, str(tmp_path / "pin"))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("kind", "key", "value", "entries"),
    [
        (libbpf.MAP_HASH, 0, 8, 1), (libbpf.MAP_ARRAY, 8, 8, 1), (libbpf.MAP_RINGBUF, 0, 0, 1000),
        (libbpf.MAP_TASK_STORAGE, 4, 0, 0), (9999, 4, 4, 1),
    ],
)  # fmt: skip
def test_a_map_that_cannot_be_is_named(kind: int, key: int, value: int, entries: int) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (names of descriptors)
    with pytest.raises(OSError, match="odd") as caught:
        libbpf.create_map(kind, "odd", key, value, entries, 0)
    assert caught.value.errno is not None
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_long_name_is_cut_to_what_the_kernel_takes() -> None:
    os.close(libbpf.create_map(libbpf.MAP_ARRAY, "a" * 40, 4, 8, 1, 0))


@pytest.mark.parametrize("what", ["link", "iterator"])
def test_a_descriptor_of_something_else_is_refused(what: str) -> None:
    create: dict[str, Callable[[int], int]] = {
        "link": lambda number: libbpf.create_link(number, number, libbpf.CGROUP_INET_EGRESS),
        "iterator": lambda number: libbpf.create_task_iterator(number, 1),
    }
    with open(os.devnull, "rb") as file, pytest.raises(OSError, match=f"{what} ") as caught:
        create[what](file.fileno())
    assert caught.value.errno in (errno.EINVAL, errno.EBADF)


def test_what_is_no_map_has_no_shape() -> None:
    with open(os.devnull, "rb") as file, pytest.raises(OSError, match="map descriptor"):
        libbpf.map_info(file.fileno())


def test_a_missing_library_says_which_package_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, **_: object) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(OSError, match=r"libbpf\.so\.1: .*; install the package libbpf1"):
        libbpf.library.__wrapped__()
