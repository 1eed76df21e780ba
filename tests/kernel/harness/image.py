# SPDX-License-Identifier: Apache-2.0
"""The VM's root file system: Debian with what the tests use and Lictor's locked Python packages."""

import shutil
import sys
import tempfile
from pathlib import Path

from tests.kernel.harness import apt, cache, disk
from tests.kernel.harness.matrix import USERLAND_PYTHON, USERLAND_SUITES
from tests.kernel.harness.progress import run, say

REPOSITORY = Path(__file__).resolve().parents[3]
RUNTIME_LOCK = REPOSITORY / "controlplane/requirements.lock"
TEST_LOCK = REPOSITORY / "tests/requirements.lock"
INSTALLER = REPOSITORY / "enforcer/install.sh"
# Copies of the three above, where the image's Python packages are set up.
_STAGE = Path("root/stage")
_SPARE_MIB = 3072

PACKAGES = (
    # A system that an operator would recognise.
    *("systemd", "systemd-sysv", "udev", "dbus", "libpam-systemd", "sudo", "procps", "psmisc"),
    *("kmod", "util-linux", "e2fsprogs", "libcap2-bin", "ca-certificates", "less", "xz-utils"),
    # What Lictor needs, as `make install` would install it.
    *("python3-bpfcc", "python3-venv", "python3-pip", "bpftool", "make"),
    # Containers.
    *("podman", "crun", "netavark", "aardvark-dns", "uidmap", "fuse-overlayfs", "busybox-static"),
    # Networks, and the programs of the incident.
    *("iproute2", "iputils-ping", "nftables", "iptables", "openssh-server", "openssh-client"),
    *("nmap", "socat", "netcat-openbsd", "curl"),
    # What the benchmark compares with.
    "apparmor",
    # Honest work.
    *("gcc", "libc6-dev", "git", "tmux", "strace", "gdb", "sqlite3"),
)

# Units that would only make a boot slower: nothing here lives long enough to
# need a timer, and there is neither a keyboard nor a network card.
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "systemd-tmpfiles-clean.timer"),
    *("podman-auto-update.timer", "podman-auto-update.service", "podman-restart.service"),
    *("podman.service", "podman.socket", "ssh.service", "nftables.service"),
    *("getty@tty1.service", "getty-static.service", "serial-getty@ttyS0.service"),
    *("systemd-pstore.service", "systemd-firstboot.service", "systemd-repart.service"),
    *("systemd-random-seed.service", "systemd-machine-id-commit.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service"),
    *(
        "systemd-pcrphase.service",
        "systemd-pcrphase-sysinit.service",
        "systemd-hwdb-update.service",
    ),
    *("systemd-journal-catalog-update.service", "systemd-update-done.service", "ldconfig.service"),
    *("cryptsetup.target", "integritysetup.target", "veritysetup.target", "remote-fs.target"),
    *("systemd-ask-password-console.path", "systemd-ask-password-wall.path"),
    *("systemd-network-generator.service", "dev-hugepages.mount", "dev-mqueue.mount"),
    "apparmor.service",
)

# The job arrives as a tar archive on the third disk; see job.py and guest.py.
JOB_UNIT = """# SPDX-License-Identifier: Apache-2.0
[Unit]
Description=The command that this VM was booted for
After=basic.target dbus.service
Wants=dbus.service
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
ExecStartPre=/bin/tar --extract --file=/dev/vdc --directory=/
ExecStart=/usr/bin/python3 -I /job/guest.py
StandardOutput=tty
StandardError=inherit
TTYPath=/dev/ttyS0
# The command is the machine's operator: no limits, and its children stay.
Delegate=yes
KillMode=process
LimitNOFILE=524288
TasksMax=infinity

[Install]
WantedBy=multi-user.target
"""


def obtain() -> Path:
    """The image's file, built first if anything that it is made from changed."""
    root_key = cache.digest([*PACKAGES, *USERLAND_SUITES, Path(apt.__file__)])
    wheels_key = cache.digest([RUNTIME_LOCK, TEST_LOCK, USERLAND_PYTHON])
    key = cache.digest([root_key, wheels_key, INSTALLER, Path(disk.__file__), Path(__file__)])
    if (found := cache.find("image", key)) is None:
        packages = cache.obtain("debian", root_key, _build_debian)
        wheels = cache.obtain("wheels", wheels_key, _build_wheels)
        found = cache.obtain("image", key, lambda folder: _build(packages, wheels, folder))
    return found / "root.img"


def _build_debian(folder: Path) -> None:
    say(f"Debian {USERLAND_SUITES[0]} with {len(PACKAGES)} packages: about a minute")
    sources = apt.machine_mirror().sources(USERLAND_SUITES)
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar"]
    command += [f"--include={','.join(PACKAGES)}", USERLAND_SUITES[0]]
    run("mmdebstrap", [*command, folder / "root.tar", *sources])


def _build_wheels(folder: Path) -> None:
    """Python packages are fetched here, by this machine's pip set-up; the image has no network."""
    say("Python packages of tests/requirements.lock")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", USERLAND_PYTHON]
    run("pip download", [*command, "--requirement", TEST_LOCK, "--dest", folder])


def _build(packages: Path, wheels: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        tree = Path(name)
        tree.chmod(0o755)
        say("unpacking Debian")
        run("unpacking", ["tar", "--extract", "--file", packages / "root.tar", "--directory", tree])
        _configure(tree)
        _install_python(tree, wheels)
        say("writing the image")
        disk.make_ext4(folder / "root.img", tree, _SPARE_MIB)


def _configure(tree: Path) -> None:
    units = tree / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    (units / "lictor-job.service").write_text(JOB_UNIT)
    link = units / "multi-user.target.wants/lictor-job.service"
    link.symlink_to("/etc/systemd/system/lictor-job.service")
    for name, text in {
        "etc/hostname": "node\n",
        "etc/hosts": "127.0.0.1 localhost node\n::1 localhost node\n",
        "etc/fstab": "",
        "etc/resolv.conf": "",
        # A fixed id, so that systemd does not take each boot for the first.
        "etc/machine-id": "11c70a11c70a11c70a11c70a11c70a11\n",
        # The journal is read in the VM or not at all.
        "etc/systemd/journald.conf.d/volatile.conf": "[Journal]\nStorage=volatile\n",
        "etc/systemd/system.conf.d/quick.conf": "[Manager]\nDefaultTimeoutStopSec=5s\n",
    }.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
    run("ssh host keys", ["chroot", tree, "ssh-keygen", "-A"])


def _install_python(tree: Path, wheels: Path) -> None:
    say("installing Python packages into /opt/lictor/venv")
    stage = tree / _STAGE
    for file in (INSTALLER, RUNTIME_LOCK):
        copy = stage / file.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True)
        shutil.copy(file, copy)
    shutil.copy(TEST_LOCK, stage / "test.lock")
    shutil.copytree(wheels, stage / "wheels")
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    offline = {"PATH": path, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"/{_STAGE}/wheels"}
    pip = ["/opt/lictor/venv/bin/pip", "install", "--quiet", "--require-hashes", "--no-deps"]
    for what, command in (
        ("venv of the image", [f"/{_STAGE}/enforcer/install.sh", "venv"]),
        ("pip in the image", [*pip, "-r", f"/{_STAGE}/test.lock"]),
    ):
        # Mounted where only this command sees it, nothing can be left behind.
        mounted = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        run(what, ["unshare", "--mount", "sh", "-c", mounted, tree, *command], env=offline)
    shutil.rmtree(stage)
