# SPDX-License-Identifier: Apache-2.0
"""Each runtime is found with its cgroup driver and the cgroup that a policy must select."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from enforcer import preflight_runtimes
from enforcer.preflight_check import Check
from enforcer.preflight_runtimes import runtime_checks

from .machine import Machine

SYSTEMD = "run/systemd/system/.keep"
CONTAINERD_SYSTEMD = """\
version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _only(machine: Machine, answer: str | None = None) -> Check:
    [check] = runtime_checks(machine.root, lambda _: answer)
    return check


@pytest.mark.parametrize(
    ("program", "files", "found"),
    [
        (
            "podman",
            {SYSTEMD: ""},
            "driver systemd (its default under systemd); containers below /machine.slice",
        ),
        (
            "podman",
            {},
            "driver cgroupfs (its default without systemd); containers below /libpod_parent",
        ),
        (
            "podman",
            {"etc/containers/containers.conf": '[engine]\ncgroup_manager = "cgroupfs"\n'},
            "driver cgroupfs (/etc/containers/containers.conf); containers below /libpod_parent",
        ),
        (
            "podman",
            {
                "etc/containers/containers.conf": '[engine]\ncgroup_manager = "cgroupfs"\n',
                "etc/containers/containers.conf.d/9.conf": '[engine]\ncgroup_manager="systemd"\n',
            },
            "driver systemd (/etc/containers/containers.conf.d/9.conf); containers below /machine",
        ),
        (
            "dockerd",
            {"etc/docker/daemon.json": '{"exec-opts": ["native.cgroupdriver=cgroupfs"]}'},
            "driver cgroupfs (/etc/docker/daemon.json); containers below /docker",
        ),
        (
            "dockerd",
            {SYSTEMD: "", "etc/docker/daemon.json": '{"cgroup-parent": "rl.slice"}'},
            "driver systemd (its default under systemd); containers below /rl.slice",
        ),
        (
            "containerd",
            {"etc/containerd/config.toml": CONTAINERD_SYSTEMD},
            "driver systemd (/etc/containerd/config.toml); containers below what its client names",
        ),
        ("containerd", {}, "driver cgroupfs (its default); containers below what its client"),
        ("crio", {}, "driver systemd (its default); containers below what its client names"),
        (
            "crio",
            {"etc/crio/crio.conf.d/1.conf": '[crio.runtime]\ncgroup_manager = "cgroupfs"\n'},
            "driver cgroupfs (/etc/crio/crio.conf.d/1.conf)",
        ),
        (
            "kubelet",
            {"var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\ncgroupDriver: systemd\n"},
            "driver systemd (/var/lib/kubelet/config.yaml); containers below /kubepods.slice",
        ),
        (
            "kubelet",
            {"var/lib/kubelet/config.yaml": "cgroupDriver: cgroupfs\ncgroupRoot: /pods\n"},
            "containers below /pods/kubepods",
        ),
        ("kubelet", {}, "driver cgroupfs (its default); containers below /kubepods"),
    ],
)
def test_a_runtime_and_where_it_puts_containers(
    machine: Machine, program: str, files: dict[str, str], found: str
) -> None:
    machine.write(f"usr/bin/{program}")
    for name, text in files.items():
        machine.write(name, text)
    check = _only(machine)
    assert check.ok is True
    assert check.found.startswith(f"/usr/bin/{program}; cgroup ")
    assert found in check.found


def test_docker_beside_the_hosts_services_is_told_to_take_a_slice(machine: Machine) -> None:
    machine.write("usr/bin/dockerd")
    machine.write(SYSTEMD)
    check = _only(machine)
    assert check.ok is None
    assert "containers below /system.slice" in check.found
    assert "--cgroup-parent=rl.slice" in check.mend


@pytest.mark.parametrize(
    ("program", "used", "command"),
    [
        ("podman", "var/lib/containers/storage/db.sql", ["podman", "info"]),
        ("dockerd", "run/docker.sock", ["docker", "info"]),
    ],
)
def test_where_files_are_silent_the_runtime_is_asked(
    machine: Machine, program: str, used: str, command: list[str]
) -> None:
    asked: list[Sequence[str]] = []

    def answer(command: Sequence[str]) -> str:
        asked.append(command)
        return "cgroupfs\n"

    machine.write(f"usr/bin/{program}")
    machine.write(SYSTEMD)
    runtime_checks(machine.root, answer)
    assert asked == [], "a runtime that was never used is left alone"
    machine.write(used)
    [check] = runtime_checks(machine.root, answer)
    assert [list(each[:2]) for each in asked] == [command]
    assert f"driver cgroupfs ({' '.join(command)})" in check.found


def test_a_runtime_that_does_not_answer_gets_its_default(machine: Machine) -> None:
    for name in ("usr/bin/dockerd", "run/docker.sock"):
        machine.write(name)
    assert "driver cgroupfs (its default without systemd)" in _only(machine, None).found
    assert "driver cgroupfs (its default without systemd)" in _only(machine, "no daemon").found


@pytest.mark.parametrize(
    ("program", "file", "text", "cause"),
    [
        ("podman", "etc/containers/containers.conf", b"[engine", "cannot be parsed: "),
        ("podman", "etc/containers/containers.conf", b"\xff", "cannot be read: "),
        ("dockerd", "etc/docker/daemon.json", b"{", "cannot be parsed: "),
        ("dockerd", "etc/docker/daemon.json", b"[]", "cannot be used: it holds no settings"),
        ("containerd", "etc/containerd/config.toml", b"a = ", "cannot be parsed: "),
        ("crio", "etc/crio/crio.conf", b"=", "cannot be parsed: "),
        ("kubelet", "var/lib/kubelet/config.yaml", b"a: [", "cannot be parsed: "),
        ("kubelet", "var/lib/kubelet/config.yaml", b"text", "cannot be used: "),
    ],
)
def test_a_broken_configuration_is_named_and_nothing_raises(
    machine: Machine, program: str, file: str, text: bytes, cause: str
) -> None:
    machine.write(f"usr/bin/{program}")
    machine.write(file, text)
    check = _only(machine)
    assert check.ok is None
    assert check.missing.startswith(f"/{file} {cause}")
    assert "\n" not in check.missing


def test_settings_of_another_shape_count_as_silent(machine: Machine) -> None:
    machine.write("usr/bin/podman")
    machine.write("etc/containers/containers.conf", 'engine = "x"\n')
    machine.write("usr/bin/dockerd")
    machine.write("etc/docker/daemon.json", '{"exec-opts": 5, "cgroup-parent": []}')
    checks = runtime_checks(machine.root, lambda _: None)
    assert all("its default without systemd" in check.found for check in checks)


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("usr/local/bin/runsc", "gVisor"),
        ("usr/bin/containerd-shim-runsc-v1", "gVisor"),
        ("usr/bin/kata-runtime", "Kata Containers"),
        ("opt/kata/bin/containerd-shim-kata-v2", "Kata Containers"),
    ],
)
def test_a_runtime_with_guests_of_its_own_is_said_not_to_be_covered(
    machine: Machine, program: str, name: str
) -> None:
    machine.write(program)
    check = _only(machine)
    assert (check.name, check.ok, check.found) == (name, None, f"/{program}")
    assert check.missing.startswith("not covered: ")


def test_a_command_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_runtimes, "SECONDS", 0.2)
    begin = time.monotonic()
    assert preflight_runtimes._run(["sleep", "30"]) is None
    assert preflight_runtimes._run([str(tmp_path / "absent")]) is None
    assert preflight_runtimes._run(["false"]) is None
    assert preflight_runtimes._run(["echo", "systemd"]) == "systemd\n"
    assert time.monotonic() - begin < 5
