# SPDX-License-Identifier: Apache-2.0
"""Loading, restoring, unloading; and that `enforcing` is said only of a denial that was seen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enforcer import cgroups, libbpf, maps, paths, pins, programs, programtable
from enforcer.preflight import attach_mode
from tests.kernel.guest.child import attempt
from tests.kernel.guest.programs import run_lictor, wait_until
from tests.kernel.guest.world import AppliedPolicy, Lictor


def _doctor() -> tuple[int, dict[str, Any]]:
    done = run_lictor("doctor", "--json")
    return done.returncode, json.loads(done.stdout)


def _connect() -> None:
    import socket

    with socket.socket() as client:
        client.connect(("127.0.0.1", 9))


# The loader as it is, but for a compiler that cannot be started.
WITHOUT_COMPILER = """
import sys
import bcc
from enforcer import loader

def refuse(**_options):
    raise RuntimeError("the compiler was started")

bcc.BPF = refuse
sys.argv = ["loader", "--reload"]
sys.exit(loader.main())
"""


def _load_without_compiler() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILER],
        cwd="/opt/lictor", capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["lsm", "fmod_ret"])
def test_every_program_passes_the_verifier(lictor: Lictor, mode: programtable.AttachMode) -> None:
    del lictor
    opened = maps.Maps.open()
    compiled = programs.ProgramSet(paths.BPF_SOURCES, mode, 4242, opened.descriptors)
    for program in programtable.programs_for(mode):
        assert compiled.load(program) > 0, program.function


def test_doctor_says_enforcing_after_a_canary(lictor: Lictor) -> None:
    del lictor
    status, report = _doctor()
    assert status == 0
    assert report["enforcing"] is True
    assert report["canary"] == dict.fromkeys(("connect", "send", "device", "exec"), "denied")
    assert report["mode"] == attach_mode()
    assert json.loads(paths.LOADER_REPORT.read_text())["enforcing"] is True


@pytest.mark.parametrize(
    ("function", "attempt_name"), [("exec_bprm_check", "exec"), ("device_file_open", "device")]
)
def test_the_canary_notices_a_hook_that_denies_nothing(
    lictor: Lictor, function: str, attempt_name: str
) -> None:
    (pins.set_folder(pins.owner(maps.Maps.open())) / function).unlink()
    try:
        # The kernel takes the program off some time after its last pin.
        wait_until(lambda: _doctor()[0] == 4, "the canary")
        report = _doctor()[1]
        assert report["enforcing"] is False
        assert [k for k, v in report["canary"].items() if v != "denied"] == [attempt_name]
    finally:
        lictor.up()
    assert _doctor()[1]["enforcing"] is True


def test_unload_ends_enforcement_and_up_restores_the_policies(
    lictor: Lictor, policy: Callable[..., AppliedPolicy]
) -> None:
    made = policy("select: [{cgroup: /restored/**}]\negress: none")
    assert attempt(_connect, cgroup="/restored").errno == 1
    assert run_lictor("unload").returncode == 0
    try:
        assert not maps.PIN_ROOT.exists()
        # The kernel takes the programs off some time after their last pins.
        wait_until(
            lambda: attempt(_connect, cgroup="/restored").errno == 111, "the end of enforcement"
        )
        status, report = _doctor()
        assert (status, report["enforcing"]) == (4, False)
        assert "no programs are loaded" in report["problem"]
    finally:
        lictor.up()
    assert attempt(_connect, cgroup="/restored").errno == 1
    rows = json.loads(run_lictor("policy", "list", "--json").stdout)["policies"]
    assert {row["name"]: row["revision"] for row in rows}[made.name] == made.revision
    event = lictor.events(kind="connect")[-1]
    assert (event["policy"], event["revision"]) == (made.name, made.revision)


def test_a_pin_of_another_shape_is_refused_by_name_and_changes_nothing(lictor: Lictor) -> None:
    path = maps.pin_path("paths")
    hidden = path.with_name("hidden")
    path.rename(hidden)
    try:
        stray = libbpf.create_map(libbpf.MAP_ARRAY, "stray", 4, 8, 1, 0)
        libbpf.pin(stray, str(path))
        done = run_lictor("up", "--node-only")
        assert done.returncode == 4
        assert f"{path}: is a map of another shape" in done.stderr
        assert _doctor()[1]["enforcing"] is True
    finally:
        path.unlink()
        hidden.rename(path)
    lictor.up()


def test_a_damaged_stored_policy_is_said_loudly(
    lictor: Lictor, policy: Callable[..., AppliedPolicy]
) -> None:
    made = policy("egress: none")
    file: Path = paths.POLICIES / made.name / f"{made.revision}.json"
    text = file.read_text()
    file.write_text(text[: len(text) // 2])
    try:
        done = run_lictor("up", "--node-only", "--reload")
        assert done.returncode == 4
        assert str(file) in done.stderr
        assert "NOT ENFORCING" in done.stderr
    finally:
        file.write_text(text)
    lictor.up()


def test_the_tag_map_outlives_a_reload(lictor: Lictor) -> None:
    before = libbpf.map_info(libbpf.open_pin(str(maps.pin_path("tags")))).id
    assert run_lictor("up", "--node-only", "--reload").returncode == 0
    after = libbpf.map_info(libbpf.open_pin(str(maps.pin_path("tags")))).id
    assert before == after


def test_what_an_earlier_start_compiled_is_loaded_and_denies(
    lictor: Lictor, policy: Callable[..., AppliedPolicy]
) -> None:
    before = pins.owner(maps.Maps.open())
    done = _load_without_compiler()
    assert done.returncode == 0, done.stderr
    assert "programs taken from the cache" in done.stderr
    assert pins.sets() == [pins.owner(maps.Maps.open())] == [before + 1]
    assert attempt(_connect).errno == 111
    for mode, errno, decision in (("enforce", 1, "denied"), ("audit", 111, "audited")):
        made = policy(f"mode: {mode}\negress: none\nselect: [{{cgroup: /cached-{mode}/**}}]")
        cgroups.folder(f"/cached-{mode}").mkdir(exist_ok=True)
        assert attempt(_connect, cgroup=f"/cached-{mode}").errno == errno
        # What is not denied is told only by the set whose number is the owner's.
        event = lictor.events(kind="connect")[-1]
        assert (event["policy"], event["decision"]) == (made.name, decision)


def test_a_damaged_file_of_compiled_programs_is_made_anew(lictor: Lictor) -> None:
    del lictor
    (kept,) = paths.PROGRAM_CACHE.iterdir()
    content = kept.read_bytes()
    kept.write_bytes(content[: len(content) // 2])
    refused = _load_without_compiler()
    assert refused.returncode == 2
    assert f"{kept}: not used, compiling anew" in refused.stderr
    assert _doctor()[1]["enforcing"] is True
    done = run_lictor("up", "--node-only", "--reload")
    assert done.returncode == 0, done.stderr
    assert "programs compiled in" in done.stderr
    assert kept.read_bytes() == content
    status = kept.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o600)
    assert _load_without_compiler().returncode == 0
