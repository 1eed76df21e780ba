# SPDX-License-Identifier: Apache-2.0
"""A load comes into force whole or leaves what was there; its report says which."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enforcer import abi, loader, paths, pins
from enforcer.compilation import LoadError
from enforcer.programtable import AttachMode, Program, programs_for
from tests.unit.enforcer import fake_pins
from tests.unit.enforcer.fake_pins import FakePins, owned
from tests.unit.enforcer.tables import MemoryMaps


class FakePrograms:
    """Loads and attaches nothing; refuses the program named `refused` at `stage`."""

    refused = ""
    stage = ""

    def __init__(
        self, folder: Path, mode: AttachMode, number: int, maps: dict[str, int], cache: Path
    ) -> None:
        self.mode = mode
        self.cached = False
        if self.stage == "compile":
            raise LoadError("bpf programs do not compile: x", "task.c:1: error")

    def load(self, program: Program) -> int:
        if (self.stage, self.refused) == ("load", program.function):
            raise LoadError(f"program {program.function}: R1 invalid mem access", "the whole log")
        return 3

    def attach(self, program: Program, descriptor: int) -> int:
        if (self.stage, self.refused) == ("attach", program.function):
            raise LoadError(f"program {program.function} does not attach", "")
        return 4


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePins:
    fake = fake_pins.install(tmp_path, monkeypatch)
    fake.root.mkdir()
    monkeypatch.setattr(loader, "ProgramSet", FakePrograms)
    monkeypatch.setattr(loader, "libbpf", fake)
    monkeypatch.setattr(loader, "_network_namespace_cookie", lambda: 4026)
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    monkeypatch.setattr(paths, "LOADER_REPORT", tmp_path / "run/loader.json")
    return fake


@pytest.fixture
def maps() -> Any:
    return MemoryMaps()


@pytest.mark.parametrize("mode", ["lsm", "fmod_ret"])
def test_a_set_is_pinned_and_then_owns_the_events(
    mode: AttachMode, node: FakePins, maps: Any
) -> None:
    assert loader.attach(maps, mode) == 1
    control = maps.control.get(0)
    assert (control.owner, control.host_netns, control.layout) == (1, 4026, abi.LAYOUT_VERSION)
    pinned = {path.name for path in pins.set_folder(1).iterdir()}
    assert pinned == {program.function for program in programs_for(mode)}


def test_an_upgrade_arms_what_was_armed_and_leaves_the_old_set_attached(
    node: FakePins, maps: Any
) -> None:
    loader.attach(maps, "lsm")
    for path in ("/rl.slice/a", "/rl.slice/b"):
        node.make_cgroup(path)
        pins.arm(1, path)
    (node.cgroups / "rl.slice/b").rmdir()
    assert loader.attach(maps, "lsm") == 2
    assert pins.sets() == [1, 2]
    assert pins.armed(2) == {node.make_cgroup("/rl.slice/a")}
    assert maps.control.get(0).owner == 2


@pytest.mark.parametrize(
    ("stage", "refused"),
    [("compile", ""), ("load", "task_task_alloc"), ("attach", "exec_bprm_check"),
     ("attach", "egress_socket_post_create")],
)  # fmt: skip
def test_a_set_that_is_refused_leaves_the_one_before(
    stage: str, refused: str, node: FakePins, maps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader.attach(maps, "lsm")
    monkeypatch.setattr(FakePrograms, "stage", stage)
    monkeypatch.setattr(FakePrograms, "refused", refused)
    before = sorted(pins.set_folder(1).iterdir())
    with pytest.raises(LoadError, match=refused or "do not compile"):
        loader.attach(maps, "lsm")
    assert pins.sets() == [1]
    assert sorted(pins.set_folder(1).iterdir()) == before
    assert maps.control.get(0).owner == 1


def test_numbers_go_on_after_a_set_that_is_gone(node: FakePins, maps: Any) -> None:
    maps.control.put(0, owned(7))
    assert loader.attach(maps, "lsm") == 8


# --- a set that is attached already ------------------------------------------


@pytest.fixture
def noted(node: FakePins, maps: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node that `lictor up` left with a set of these sources in force."""
    monkeypatch.setattr(paths, "PROGRAM_SET", tmp_path / "run/program-set.json")
    number = loader.attach(maps, "lsm")
    note = {"number": number, "mode": "lsm", "digest": loader.sources_digest()}
    paths.write_atomically(paths.PROGRAM_SET, json.dumps(note))
    return paths.PROGRAM_SET


def test_the_very_same_set_is_left_in_force(noted: Path, maps: Any) -> None:
    assert loader.in_force(maps, "lsm") == 1
    assert loader.in_force(maps, "fmod_ret") is None


@pytest.mark.parametrize("damage", ["absent", "", "{", "[]", "null"])
def test_a_note_that_cannot_be_read_is_none(damage: str, noted: Path, maps: Any) -> None:
    if damage == "absent":
        noted.unlink()
    else:
        noted.write_text(damage)
    assert loader.in_force(maps, "lsm") is None


def test_a_set_that_is_not_whole_or_not_alone_is_none(
    noted: Path, node: FakePins, maps: Any
) -> None:
    node.load(2)
    assert loader.in_force(maps, "lsm") is None
    pins.remove_set(2)
    assert loader.in_force(maps, "lsm") == 1
    (pins.set_folder(1) / "task_task_alloc").unlink()
    assert loader.in_force(maps, "lsm") is None


def test_a_change_of_any_source_is_another_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bpf/include").mkdir(parents=True)
    monkeypatch.setattr(paths, "BPF_SOURCES", tmp_path / "bpf")
    seen = set()
    for name, text in (("a.c", "1"), ("a.c", "2"), ("b.c", ""), ("include/x.h", "")):
        (tmp_path / "bpf" / name).write_text(text)
        seen.add(loader.sources_digest())
    assert len(seen) == 4


# --- the process ------------------------------------------------------------

Outcome = Callable[..., bool]


def _raising(error: Exception) -> Outcome:
    def run(*_: object, **_options: bool) -> bool:
        raise error

    return run


@pytest.mark.parametrize(("enforcing", "status"), [(True, 0), (False, 1)])
def test_the_status_is_whether_it_enforces(
    enforcing: bool, status: int, node: FakePins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_run", lambda *_, **_options: enforcing)
    assert loader.main() == status


@pytest.mark.parametrize(
    "error",
    [
        LoadError("program exec_bprm_check on bprm_check_security: Permission denied", "long log"),
        OSError(28, "No space left on device", "map tags"),
        ValueError("/sys/fs/bpf/lictor/tags: is a map of another shape"),
        LookupError("this kernel's BTF has no struct inode with a field i_rdev"),
        subprocess.CalledProcessError(32, ["mount", "-t", "bpf"]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_machine_that_cannot_is_status_2_with_the_cause(
    error: Exception, node: FakePins, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(loader, "_run", _raising(error))
    assert loader.main() == 2
    report = json.loads(paths.LOADER_REPORT.read_text())
    assert report["enforcing"] is False
    assert report["error"] == str(error)
    assert report["mode"] in ("lsm", "fmod_ret")
    errors = capfd.readouterr().err
    assert str(error) in errors
    assert "Traceback" not in errors


def test_a_verifiers_log_is_kept_whole(node: FakePins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_run", _raising(LoadError("refused", "0: (b7) r0 = 0\n" * 1000)))
    loader.main()
    assert (paths.RUN / "loader.log").read_text().count("\n") == 1000


def test_only_root_loads(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert loader.main() == 2
    assert "the loader needs root" in capfd.readouterr().err
