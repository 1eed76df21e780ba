# SPDX-License-Identifier: Apache-2.0
"""A folder that looks like the root of a machine, for checks that read files only."""

from __future__ import annotations

from pathlib import Path

MOUNTS = """\
proc /proc proc rw 0 0
securityfs /sys/kernel/security securityfs rw 0 0
cgroup2 /sys/fs/cgroup cgroup2 rw 0 0
bpf /sys/fs/bpf bpf rw 0 0
"""
# A Debian 12 host that has everything, as root.
FILES = {
    "proc/sys/kernel/osrelease": "6.1.0-49-amd64\n",
    "proc/sys/kernel/arch": "x86_64\n",
    "proc/self/status": "Name:\tpython3\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
    "proc/self/mounts": MOUNTS,
    "sys/kernel/btf/vmlinux": "",
    "sys/kernel/security/lsm": "lockdown,capability,landlock,yama,apparmor,bpf",
    "sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
    "usr/lib/python3/dist-packages/bcc/__init__.py": "raise SystemExit('imported')\n",
    "usr/lib/python3/dist-packages/bcc/libbcc.py": "",
    "usr/lib/python3/dist-packages/bcc/version.py": "__version__ = '0.26.0'\n",
    "usr/lib/x86_64-linux-gnu/libbcc.so.0": "",
    "usr/lib/x86_64-linux-gnu/libbpf.so.1.1.2": "",
}


class Machine:
    """Files below `root`, which functions under test take for `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, text in FILES.items():
            self.write(name, text)
        (root / "usr/lib/x86_64-linux-gnu/libbpf.so.1").symlink_to("libbpf.so.1.1.2")

    def write(self, name: str, text: str | bytes = "") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def remove(self, *names: str) -> None:
        for name in names:
            (self.root / name).unlink()
