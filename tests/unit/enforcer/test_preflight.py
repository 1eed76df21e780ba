# SPDX-License-Identifier: Apache-2.0
"""Each need is found or missed for what it is, and what is missing comes with its mend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enforcer.preflight import attach_mode, run_checks
from enforcer.preflight_check import Check, as_data, passed, table

from .machine import MOUNTS, Machine

HYBRID = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
bpf /sys/fs/bpf bpf rw 0 0
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _check(machine: Machine, name: str) -> Check:
    return next(check for check in run_checks(machine.root) if check.name == name)


def test_a_machine_that_has_everything(machine: Machine) -> None:
    checks = run_checks(machine.root)
    assert passed(checks)
    assert {check.name: check.found for check in checks} == {
        "kernel": "6.1.0-49-amd64, x86_64",
        "BTF": "/sys/kernel/btf/vmlinux",
        "LSM list": "lockdown,capability,landlock,yama,apparmor,bpf: attaches as LSM programs",
        "lockdown": "none",
        "privilege": "root, with CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF",
        "bpffs": "/sys/fs/bpf",
        "cgroup v2": "unified, /sys/fs/cgroup",
        "bcc": f"0.26.0, {machine.root}/usr/lib/python3/dist-packages/bcc",
        "libbpf": "/usr/lib/x86_64-linux-gnu/libbpf.so.1.1.2",
        "NVML": "no NVIDIA driver: `gpus: all` and `gpus: none` hold by device number all the same",
        "container runtimes": "none on this machine",
    }


def test_an_empty_root_lacks_everything_and_nothing_raises(tmp_path: Path) -> None:
    checks = run_checks(tmp_path)
    assert not passed(checks)
    lacking = {check.name for check in checks if check.ok is False}
    assert lacking == {"kernel", "BTF", "privilege", "bpffs", "cgroup v2", "bcc", "libbpf"}
    assert all(check.missing and check.mend for check in checks if check.ok is False)


@pytest.mark.parametrize(
    ("name", "file", "text", "ok", "found", "missing"),
    [
        ("kernel", "proc/sys/kernel/osrelease", "5.10.0-30-amd64", False, "5.10.0-30", "Linux 6.1"),
        ("kernel", "proc/sys/kernel/osrelease", "6.0.19", False, "6.0.19", "Linux 6.1"),
        ("kernel", "proc/sys/kernel/osrelease", "7.3.4-amd64", True, "7.3.4-amd64, x86_64", ""),
        ("kernel", "proc/sys/kernel/osrelease", "odd", False, "odd, x86_64", "Linux 6.1"),
        ("kernel", "proc/sys/kernel/arch", "aarch64", False, "aarch64", "x86-64: other"),
        ("LSM list", "sys/kernel/security/lsm", "capability,yama", True, "fmod_ret", ""),
        ("lockdown", "sys/kernel/security/lockdown", "none [integrity]", True, "integrity", ""),
        (
            "lockdown",
            "sys/kernel/security/lockdown",
            "none integrity [confidentiality]",
            False,
            "confidentiality",
            "programs may not read kernel memory",
        ),
        (
            "privilege",
            "proc/self/status",
            "Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\n",
            False,
            "root",
            "CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF",
        ),
        (
            "privilege",
            "proc/self/status",
            "Uid:\t0\t1000\t0\t0\nCapEff:\t000001ffffffffff\n",
            False,
            "user 1000",
            "the user root",
        ),
        (
            "bpffs",
            "proc/self/mounts",
            MOUNTS.replace("bpf", "tmpfs"),
            False,
            "nothing",
            "the place",
        ),
        ("cgroup v2", "proc/self/mounts", HYBRID, False, "hybrid: version 1 below", "the unified"),
        (
            "cgroup v2",
            "proc/self/mounts",
            "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n",
            False,
            "version 1 only",
            "the unified hierarchy",
        ),
        (
            "cgroup v2",
            "proc/self/mounts",
            "cgroup2 /mnt/cgroup2 cgroup2 rw 0 0\n",
            False,
            "version 2 at /mnt/cgroup2",
            "mounted at /sys/fs/cgroup",
        ),
    ],
)
def test_a_need_that_is_met_otherwise_or_not(
    machine: Machine, name: str, file: str, text: str, ok: bool, found: str, missing: str
) -> None:
    machine.write(file, text)
    check = _check(machine, name)
    assert check.ok is ok
    assert found in check.found
    assert missing in check.missing
    assert bool(check.mend) is not ok or name == "LSM list"


def test_bpf_in_the_lsm_list_attaches_as_lsm(machine: Machine) -> None:
    assert attach_mode(machine.root) == "lsm"


@pytest.mark.parametrize("text", ["lockdown,capability,yama", "capability,bpfilter", ""])
def test_no_bpf_in_the_lsm_list_attaches_as_fmod_ret(machine: Machine, text: str) -> None:
    machine.write("sys/kernel/security/lsm", text)
    assert attach_mode(machine.root) == "fmod_ret"


def test_without_securityfs_the_way_that_always_works_is_taken_and_said(machine: Machine) -> None:
    machine.remove("sys/kernel/security/lsm")
    check = _check(machine, "LSM list")
    assert attach_mode(machine.root) == "fmod_ret"
    assert check.ok is None
    assert check.mend == "mount -t securityfs securityfs /sys/kernel/security"


def test_how_to_add_bpf_keeps_the_list_as_it_is(machine: Machine) -> None:
    machine.write("sys/kernel/security/lsm", "capability,yama")
    assert _check(machine, "LSM list").mend.endswith("boot with lsm=capability,yama,bpf")


def test_another_package_named_bcc_is_not_taken_for_ours(machine: Machine) -> None:
    machine.remove("usr/lib/python3/dist-packages/bcc/libbcc.py")
    check = _check(machine, "bcc")
    assert check.ok is False
    assert "is an unrelated package" in check.found
    assert check.mend.startswith("pip uninstall bcc; ")


def test_bcc_without_its_library(machine: Machine) -> None:
    machine.remove("usr/lib/x86_64-linux-gnu/libbcc.so.0")
    assert _check(machine, "bcc").missing == "libbcc.so.0, its library"


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Sat Feb 24", "535.161.08"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Re", "560.35.03"),
    ],
)
def test_nvml_with_driver_library_and_module(machine: Machine, line: str, version: str) -> None:
    machine.write("proc/driver/nvidia/version", line)
    check = _check(machine, "NVML")
    assert check.ok is None
    assert check.missing.startswith("libnvidia-ml.so.1 and the Python module pynvml: ")
    machine.write("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1")
    machine.write("usr/lib/python3/dist-packages/pynvml.py")
    found = f"driver {version}; /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
    assert _check(machine, "NVML") == Check("NVML", True, found)


def test_the_table_marks_each_check_and_keeps_commands_whole() -> None:
    command = "mount -t securityfs securityfs /sys/kernel/security"
    lines = table(
        [
            Check("kernel", True, "6.1"),
            Check("bpffs", False, "none", "a place to stay", command),
            Check("NVML", None, "absent", "optional"),
        ]
    )
    assert lines == [
        "kernel  ok       6.1",
        "bpffs   MISSING  none",
        "                 missing: a place to stay",
        f"                 mend: {command}",
        "NVML    note     absent",
        "                 note: optional",
    ]


def test_long_texts_are_wrapped_under_their_column() -> None:
    lines = table([Check("a", False, "word " * 30, "x", "")], width=60)
    assert len(lines) > 3
    assert all(len(line) <= 60 for line in lines)
    assert lines[1].startswith(" " * 12 + "word")


def test_the_data_is_plain(machine: Machine) -> None:
    data = json.loads(json.dumps(as_data(run_checks(machine.root))))
    assert data[0] == {
        "name": "kernel",
        "ok": True,
        "found": "6.1.0-49-amd64, x86_64",
        "missing": "",
        "mend": "",
    }
