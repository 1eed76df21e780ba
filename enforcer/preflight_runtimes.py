# SPDX-License-Identifier: Apache-2.0
"""Container runtimes of the machine: which are there, and in which cgroups they put containers.

That is what `select` of a policy must name. Facts come from configuration files, because a daemon
may be down; where the files are silent, the runtime's own command is asked, for two seconds.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from enforcer.preflight_check import Check

SECONDS = 2.0
_BINARY_FOLDERS = (
    "usr/bin",
    "usr/sbin",
    "usr/local/bin",
    "usr/local/sbin",
    "bin",
    "opt/bin",
    "opt/kata/bin",
)
# Runtimes whose guests have a kernel of their own: the host's never sees their system calls.
_GUEST_RUNTIMES = {
    "gVisor": ("runsc", "containerd-shim-runsc-v1"),
    "Kata Containers": ("kata-runtime", "containerd-shim-kata-v2"),
}
_DRIVER = re.compile(r"systemd|cgroupfs")

Ask = Callable[[Sequence[str]], str | None]
"""Runs a command; its output, or None where it failed or took too long."""


class _UnreadableError(ValueError):
    """A runtime's configuration that is not what its format says; str names file and cause."""


@dataclass(frozen=True)
class _Placement:
    """The cgroup driver, who says so, and the cgroup below which containers appear."""

    driver: str
    said_by: str
    parent: str


def runtime_checks(root: Path, ask: Ask | None = None) -> list[Check]:
    """A check for each runtime found, one that says so where there is none."""
    if ask is None:
        ask = _run if root == Path("/") else _silence
    find: dict[str, Callable[[Path, Ask], _Placement]] = {
        "podman": _podman,
        "docker": _docker,
        "containerd": _containerd,
        "crio": _crio,
        "kubelet": _kubelet,
    }
    checks = []
    for name, placement in find.items():
        program = _program(root, "dockerd" if name == "docker" else name)
        if program is not None:
            checks.append(_check(name, program, placement, root, ask))
    checks += _guest_checks(root)
    return checks or [Check("container runtimes", None, "none on this machine")]


def _check(
    name: str, program: str, placement: Callable[[Path, Ask], _Placement], root: Path, ask: Ask
) -> Check:
    try:
        found = placement(root, ask)
    except _UnreadableError as error:
        return Check(name, None, program, str(error), "mend the file, or remove it")
    text = f"{program}; cgroup driver {found.driver} ({found.said_by})"
    text += f"; containers below {found.parent}"
    if found.parent == "/system.slice":
        return Check(
            name,
            None,
            text,
            "a slice for containers alone: there they stand beside the host's own services",
            'start them with --cgroup-parent=rl.slice, or set "cgroup-parent" in '
            "/etc/docker/daemon.json",
        )
    return Check(name, True, text)


def _podman(root: Path, ask: Ask) -> _Placement:
    files = [root / "usr/share/containers/containers.conf", root / "etc/containers/containers.conf"]
    files += sorted((root / "etc/containers/containers.conf.d").glob("*.conf"))
    driver, said_by = _from_toml(root, files, ("engine", "cgroup_manager"))
    # Asking a podman that was never used would make its storage.
    if not driver and (root / "var/lib/containers/storage").is_dir():
        driver = _asked(ask, ["podman", "info", "--format", "{{.Host.CgroupManager}}"])
        said_by = "podman info"
    if not driver:
        driver, said_by = _native(root)
    return _Placement(driver, said_by, _parent(driver, "/machine.slice", "/libpod_parent"))


def _docker(root: Path, ask: Ask) -> _Placement:
    path = root / "etc/docker/daemon.json"
    settings = _mapping(_loaded(root, path, json.loads), root, path)
    options = settings.get("exec-opts")
    text = " ".join(map(str, options)) if isinstance(options, list) else ""
    match = re.search(r"native\.cgroupdriver=(\w+)", text)
    driver, said_by = (match.group(1) if match else ""), _shown(root, path)
    if not driver and (root / "run/docker.sock").exists():
        driver = _asked(ask, ["docker", "info", "--format", "{{.CgroupDriver}}"])
        said_by = "docker info"
    if not driver:
        driver, said_by = _native(root)
    parent = settings.get("cgroup-parent")
    if isinstance(parent, str) and parent:
        return _Placement(driver, said_by, f"/{parent.strip('/')}")
    return _Placement(driver, said_by, _parent(driver, "/system.slice", "/docker"))


def _containerd(root: Path, _: Ask) -> _Placement:
    path = root / "etc/containerd/config.toml"
    settings = _mapping(_loaded(root, path, tomllib.loads), root, path)
    systemd = any(value is True for value in _named(settings, "SystemdCgroup"))
    driver = "systemd" if systemd else "cgroupfs"
    said_by = _shown(root, path) if settings else "its default"
    return _Placement(driver, said_by, "what its client names (the kubelet: see kubelet)")


def _crio(root: Path, _: Ask) -> _Placement:
    files = [root / "etc/crio/crio.conf", *sorted((root / "etc/crio/crio.conf.d").glob("*.conf"))]
    driver, said_by = _from_toml(root, files, ("crio", "runtime", "cgroup_manager"))
    if not driver:
        driver, said_by = "systemd", "its default"
    return _Placement(driver, said_by, "what its client names (the kubelet: see kubelet)")


def _kubelet(root: Path, _: Ask) -> _Placement:
    path = root / "var/lib/kubelet/config.yaml"
    settings = _mapping(_loaded(root, path, yaml.safe_load), root, path)
    driver = str(settings.get("cgroupDriver") or "")
    said_by = _shown(root, path) if driver else "its default"
    driver = driver or "cgroupfs"
    above = str(settings.get("cgroupRoot") or "/").rstrip("/")
    return _Placement(driver, said_by, above + _parent(driver, "/kubepods.slice", "/kubepods"))


def _guest_checks(root: Path) -> Iterator[Check]:
    for name, programs in _GUEST_RUNTIMES.items():
        found = [path for program in programs if (path := _program(root, program))]
        if found:
            yield Check(
                name,
                None,
                ", ".join(found),
                "not covered: what its guests do are not system calls of this kernel",
                "run workloads that need a policy with runc or crun",
            )


def _native(root: Path) -> tuple[str, str]:
    """What podman and docker take where nothing is configured."""
    if (root / "run/systemd/system").is_dir():
        return "systemd", "its default under systemd"
    return "cgroupfs", "its default without systemd"


def _parent(driver: str, systemd: str, cgroupfs: str) -> str:
    return systemd if driver == "systemd" else cgroupfs


def _from_toml(root: Path, files: list[Path], keys: tuple[str, ...]) -> tuple[str, str]:
    """The setting as the last file that has it says; empty where none does."""
    value, said_by = "", ""
    for path in files:
        settings: Any = _loaded(root, path, tomllib.loads)
        for key in keys:
            settings = settings.get(key) if isinstance(settings, dict) else None
        if isinstance(settings, str) and settings:
            value, said_by = settings, _shown(root, path)
    return value, said_by


def _loaded(root: Path, path: Path, load: Callable[[str], Any]) -> object:
    """What the file holds, None where there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _UnreadableError(f"{_shown(root, path)} cannot be read: {error}") from None
    try:
        return load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        cause = str(error).partition("\n")[0]
        raise _UnreadableError(f"{_shown(root, path)} cannot be parsed: {cause}") from None


def _mapping(value: object, root: Path, path: Path) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _UnreadableError(f"{_shown(root, path)} cannot be used: it holds no settings")
    return value


def _named(settings: object, key: str) -> Iterator[object]:
    """Every value under `key`, at whatever depth: containerd's plugin names change by version."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            if name == key:
                yield value
            yield from _named(value, key)


def _asked(ask: Ask, command: Sequence[str]) -> str:
    match = _DRIVER.search(ask(command) or "")
    return match.group() if match else ""


def _program(root: Path, name: str) -> str | None:
    for folder in _BINARY_FOLDERS:
        if (root / folder / name).is_file():
            return f"/{folder}/{name}"
    return None


def _shown(root: Path, path: Path) -> str:
    return f"/{path.relative_to(root)}"


def _silence(_: Sequence[str]) -> None:
    """Another root's runtimes cannot be asked."""


def _run(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=SECONDS,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
