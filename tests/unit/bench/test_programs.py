# SPDX-License-Identifier: Apache-2.0
"""What is timed and what is the floor: both can be built here, though not attached."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import get_args

import pytest

from controlplane.contract.policy import parse_policy
from enforcer.programtable import AttachMode
from tests.bench import floor, guest
from tests.unit.bench.samples import KINDS

SOURCES = Path(guest.__file__).parent


@pytest.fixture(scope="module")
def hookbench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs, built and laid out as in the VM."""
    folder = tmp_path_factory.mktemp("bench")
    compiler: list[str | Path] = ["gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o"]
    for name in ("allowed", "denied"):
        (folder / name).mkdir()
        command = [*compiler, folder / name / "true", SOURCES / "true.c"]
        subprocess.run(command, check=True)
    (folder / "allowed/file").write_text("a regular file\n")
    subprocess.run([*compiler, folder / "hookbench", SOURCES / "hookbench.c"], check=True)
    return folder


def test_every_attempt_is_made_and_timed(hookbench: Path) -> None:
    command = [hookbench / "hookbench", hookbench]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    rows = guest.parse(done.stdout)
    assert sorted(rows) == sorted([*KINDS, "clock"])
    for row in rows.values():
        assert 0 < row["lowest"] <= row["median"] <= row["p90"]
    # Without a node at the GPU's place, and without privileges for raw sockets, those two fail.
    assert all(
        row["errno"] == 0
        for kind, row in rows.items()
        if kind not in ("open_gpu_denied", "socket_raw_denied")
    )


@pytest.mark.parametrize("mode", get_args(AttachMode))
def test_the_floor_has_an_empty_program_for_each_hook(mode: AttachMode) -> None:
    programs = floor.compiled(mode)
    assert programs.mode == mode
    text = floor.source(mode)
    assert all(f"int {hook.function}(void *ctx)" in text for hook in floor.hooks(mode))


def test_an_empty_cgroup_program_says_yes() -> None:
    assert "int egress_packet_out(void *ctx) { return 1; }" in floor.source("lsm")
    assert "int egress_socket_connect(void *ctx) { return 0; }" in floor.source("lsm")


def test_the_policy_of_the_benchmark_is_a_valid_one() -> None:
    path = SOURCES / "policy.yaml"
    policy = parse_policy(path.read_text(), str(path))
    assert policy.spec.mode == "enforce"


@pytest.mark.parametrize(
    ("kind", "errno", "denying", "fine"),
    [
        ("connect_tcp", 0, True, True),
        ("connect_tcp_denied", 1, True, True),
        ("connect_tcp_denied", 0, False, True),
        ("open_gpu_denied", 6, False, True),
        ("connect_tcp_denied", 0, True, False),
        ("connect_tcp", 1, True, False),
        ("connect_tcp_denied", 1, False, False),
        ("connect_tcp_denied", -1, True, False),
    ],
)
def test_an_attempt_that_ended_otherwise_spoils_the_figures(
    kind: str, errno: int, denying: bool, fine: bool
) -> None:
    counts = {kind: {"errno": errno}}
    if fine:
        guest.check(counts, denying=denying)
    else:
        with pytest.raises(RuntimeError, match=f"{kind}: ended with errno"):
            guest.check(counts, denying=denying)
