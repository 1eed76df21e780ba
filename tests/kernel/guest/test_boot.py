# SPDX-License-Identifier: Apache-2.0
"""The VM is the one that the matrix asked for; without this, the other tests prove nothing."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def attachment() -> str:
    return os.environ["LICTOR_ATTACHMENT"]


def test_kernel_is_of_the_series_asked_for() -> None:
    wanted = os.environ["LICTOR_SERIES"].split(".")
    assert os.uname().release.split(".")[: len(wanted)] == wanted


def test_bpf_is_an_active_lsm_only_where_asked_for(attachment: str) -> None:
    active = Path("/sys/kernel/security/lsm").read_text().split(",")
    assert ("bpf" in active) == (attachment == "lsm")


def test_kernel_tells_its_types() -> None:
    assert Path("/sys/kernel/btf/vmlinux").stat().st_size > 0


def test_cgroup_v2_is_the_only_hierarchy() -> None:
    assert Path("/sys/fs/cgroup/cgroup.controllers").exists()
