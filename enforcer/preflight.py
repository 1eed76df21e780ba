# SPDX-License-Identifier: Apache-2.0
"""What a machine must have before Lictor can enforce, found without changing or loading anything.

Everything is read below a root folder, so that tests run against a tree of their own. That a need
is met does not prove that a denial happens: only the loader's canary does.
"""

from __future__ import annotations

import re
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Literal

from enforcer.preflight_check import Check
from enforcer.preflight_runtimes import runtime_checks

MINIMUM_KERNEL = (6, 1)
ARCHITECTURES = ("x86_64",)
LSM_LIST = "sys/kernel/security/lsm"

# Bits of /proc/PID/status' CapEff (include/uapi/linux/capability.h) that loading takes.
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
_LIBRARY_FOLDERS = (
    "usr/lib/*-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "lib/*-linux-gnu",
    "usr/local/lib",
)


def run_checks(root: str | Path = "/") -> list[Check]:
    """Every need, in the order in which a person would mend them."""
    base = Path(root)
    return [
        kernel_check(base),
        btf_check(base),
        lsm_check(base),
        lockdown_check(base),
        privilege_check(base),
        bpffs_check(base),
        cgroup_check(base),
        bcc_check(base),
        libbpf_check(base),
        nvml_check(base),
        *runtime_checks(base),
    ]


def attach_mode(root: str | Path = "/") -> Literal["lsm", "fmod_ret"]:
    """How programs attach on this machine: the one place that decides it."""
    return "lsm" if "bpf" in (_active_lsms(Path(root)) or ()) else "fmod_ret"


def kernel_check(root: Path) -> Check:
    release = _read(root / "proc/sys/kernel/osrelease") or "unknown"
    architecture = _read(root / "proc/sys/kernel/arch") or "unknown"
    found = f"{release}, {architecture}"
    match = re.match(r"(\d+)\.(\d+)", release)
    if match is None or (int(match.group(1)), int(match.group(2))) < MINIMUM_KERNEL:
        return Check(
            "kernel",
            False,
            found,
            "Linux 6.1 or later: task storage and the hooks that hold a workload need it",
            "install a newer kernel; Debian 12 (6.1) and Ubuntu 24.04 (6.8) have one",
        )
    if architecture not in ARCHITECTURES:
        return Check(
            "kernel",
            False,
            found,
            "x86-64: other architectures come with a later version",
            "run Lictor on an x86-64 machine",
        )
    return Check("kernel", True, found)


def btf_check(root: Path) -> Check:
    path = root / "sys/kernel/btf/vmlinux"
    if path.is_file():
        return Check("BTF", True, "/sys/kernel/btf/vmlinux")
    return Check(
        "BTF",
        False,
        "no /sys/kernel/btf/vmlinux",
        "the kernel's own type information: programs are built for the running kernel from it",
        "run a kernel built with CONFIG_DEBUG_INFO_BTF=y (the distributions' own are), and have "
        "/sys mounted",
    )


def lsm_check(root: Path) -> Check:
    active = _active_lsms(root)
    differs = (
        "attaches as fmod_ret on security_*, with the same rules; but the kernel skips such a "
        "program where it is preempted by a task that runs it too, so on a preemptible kernel root "
        "in a workload can race past denials: boot with `bpf` in lsm=, or with preempt=none"
    )
    if active is None:
        return Check(
            "LSM list",
            None,
            f"no /{LSM_LIST}: {differs}",
            "securityfs, which lists the active security modules",
            "mount -t securityfs securityfs /sys/kernel/security",
        )
    listed = ",".join(active)
    if "bpf" in active:
        return Check("LSM list", True, f"{listed}: attaches as LSM programs")
    return Check(
        "LSM list",
        True,
        f"{listed}: {differs}",
        mend=f"only if you want LSM programs: boot with lsm={listed},bpf",
    )


def lockdown_check(root: Path) -> Check:
    text = _read(root / "sys/kernel/security/lockdown") or ""
    match = re.search(r"\[(\w+)\]", text)
    state = match.group(1) if match else "not built in"
    if state != "confidentiality":
        return Check("lockdown", True, state)
    return Check(
        "lockdown",
        False,
        state,
        "programs may not read kernel memory in this state, so no decision could be made",
        "boot with lockdown=integrity, or without lockdown=confidentiality",
    )


def privilege_check(root: Path) -> Check:
    status = _read(root / "proc/self/status") or ""
    user = re.search(r"^Uid:\s+\d+\s+(\d+)", status, re.MULTILINE)
    mask = re.search(r"^CapEff:\s+([0-9a-f]+)", status, re.MULTILINE)
    if user is None or mask is None:
        return Check("privilege", False, "no /proc/self/status", "/proc", "mount /proc")
    held = int(mask.group(1), 16)
    lacking = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    found = "root" if user.group(1) == "0" else f"user {user.group(1)}"
    if user.group(1) == "0" and not lacking:
        return Check("privilege", True, f"{found}, with {', '.join(_CAPABILITIES)}")
    missing = f"the capabilities {', '.join(lacking)}" if lacking else "the user root"
    return Check("privilege", False, found, missing, "run as root on the host, not in a container")


def bpffs_check(root: Path) -> Check:
    if ("/sys/fs/bpf", "bpf") in _mounts(root):
        return Check("bpffs", True, "/sys/fs/bpf")
    return Check(
        "bpffs",
        False,
        "nothing of type bpf at /sys/fs/bpf",
        "the place where enforcement stays when our processes end",
        "mount -t bpf bpf /sys/fs/bpf (systemd does so at boot)",
    )


def cgroup_check(root: Path) -> Check:
    mounts = _mounts(root)
    if ("/sys/fs/cgroup", "cgroup2") in mounts:
        return Check("cgroup v2", True, "unified, /sys/fs/cgroup")
    unified = [place for place, kind in mounts if kind == "cgroup2"]
    versions_1 = [place for place, kind in mounts if kind == "cgroup"]
    if unified and versions_1:
        found = f"hybrid: version 1 below /sys/fs/cgroup, version 2 at {unified[0]}"
    elif versions_1:
        found = "version 1 only"
    else:
        found = f"version 2 at {unified[0]}" if unified else "none mounted"
    return Check(
        "cgroup v2",
        False,
        found,
        "the unified hierarchy, mounted at /sys/fs/cgroup: a workload is a cgroup of it",
        "boot with systemd.unified_cgroup_hierarchy=1"
        if versions_1
        else "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
    )


def bcc_check(root: Path) -> Check:
    """Looks, without importing: an import would hold LLVM in memory."""
    spec = PathFinder.find_spec("bcc", _module_folders(root))
    mend = "apt install python3-bpfcc (dnf install python3-bcc); use the distribution's Python"
    if spec is None or spec.origin is None:
        return Check(
            "bcc", False, "no Python module bcc", "bcc, which compiles the kernel programs", mend
        )
    folder = Path(spec.origin).parent
    if not (folder / "libbcc.py").is_file():
        return Check(
            "bcc",
            False,
            f"{folder} is an unrelated package (PyPI's bcc is a lattice library)",
            "bcc, the BPF compiler collection",
            f"pip uninstall bcc; {mend}",
        )
    version = re.search(r"__version__ = '([^']+)'", _read(folder / "version.py") or "")
    library = _library(root, "libbcc.so.0")
    found = f"{version.group(1) if version else 'unknown version'}, {folder}"
    if library is None:
        return Check("bcc", False, found, "libbcc.so.0, its library", mend)
    return Check("bcc", True, found)


def libbpf_check(root: Path) -> Check:
    library = _library(root, "libbpf.so.1")
    if library is not None:
        return Check("libbpf", True, library)
    return Check(
        "libbpf",
        False,
        "no libbpf.so.1",
        "libbpf 1.x, by which the agent opens maps and events",
        "apt install libbpf1",
    )


def nvml_check(root: Path) -> Check:
    version = re.search(
        r"Module(?:\s+for \S+)?\s+(\d+[\d.]*)", _read(root / "proc/driver/nvidia/version") or ""
    )
    library = _library(root, "libnvidia-ml.so.1")
    module = PathFinder.find_spec("pynvml", _module_folders(root))
    if version is None:
        found = "no NVIDIA driver: `gpus: all` and `gpus: none` hold by device number all the same"
        return Check("NVML", None, found)
    found = f"driver {version.group(1)}; {library or 'no libnvidia-ml.so.1'}"
    if library is not None and module is not None:
        return Check("NVML", True, found)
    lacking = [] if library else ["libnvidia-ml.so.1"]
    lacking += [] if module else ["the Python module pynvml"]
    return Check(
        "NVML",
        None,
        found,
        f"{' and '.join(lacking)}: GPUs are listed from the driver's files instead",
        "install the driver's libnvidia-ml1 and the package nvidia-ml-py",
    )


def _active_lsms(root: Path) -> list[str] | None:
    text = _read(root / LSM_LIST)
    return text.split(",") if text else None


def _mounts(root: Path) -> list[tuple[str, str]]:
    """(place, file system type) of every mount that this process sees."""
    lines = (_read(root / "proc/self/mounts") or "").splitlines()
    fields = [line.split(" ") for line in lines]
    return [(parts[1], parts[2]) for parts in fields if len(parts) > 2]


def _library(root: Path, name: str) -> str | None:
    """The library's file, with the version that its link names."""
    for pattern in _LIBRARY_FOLDERS:
        for path in sorted(root.glob(f"{pattern}/{name}")):
            return f"/{path.resolve().relative_to(root.resolve())}"
    return None


def _module_folders(root: Path) -> list[str] | None:
    """Where Python looks for modules: this process's own path on the machine itself."""
    return None if root == Path("/") else [str(root / "usr/lib/python3/dist-packages")]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
