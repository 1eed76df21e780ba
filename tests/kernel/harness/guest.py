# SPDX-License-Identifier: Apache-2.0
"""Runs inside the VM: installs the checkout, runs the command, sends its output home.

Uses the standard library only, and nothing of this repository: it starts
before anything is installed.
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

JOB = Path("/job")
CHECKOUT = Path("/src/lictor")
SHARE = Path("/share")
RESULTS = Path("/out")
HOME = "/root"
# As an operator's login shell has it.
ENVIRONMENT = {
    "HOME": HOME,
    "LANG": "C.UTF-8",
    "LOGNAME": "root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL": "/bin/bash",
    "TERM": "dumb",
    "USER": "root",
}
# A daemon that the command leaves behind keeps its output open for ever;
# once the command has ended, this much silence ends the reading.
SILENCE_SECONDS = 0.3
# The command may boot the VM anew, once: it is run again then, with LICTOR_BOOT=2.
BOOTS = Path("/var/lib/lictor-job-boots")
LAST_BOOT = 2
HARNESS_FAILED = 125


def open_port(name: str) -> int:
    """A virtio-serial port by the name that the host gave it."""
    for _ in range(100):
        for entry in Path("/sys/class/virtio-ports").glob("*/name"):
            if entry.read_text().strip() == f"lictor.{name}":
                return os.open(f"/dev/{entry.parent.name}", os.O_WRONLY | os.O_CLOEXEC)
        time.sleep(0.1)
    raise RuntimeError(f"virtio port lictor.{name}: not there")


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def pump(source: int, port: int, ended: threading.Event) -> None:
    """Copy a pipe to a port until it closes, or falls silent after the command's end."""
    while True:
        over = ended.is_set()
        if select.select([source], [], [], SILENCE_SECONDS)[0]:
            if not (data := os.read(source, 65536)):
                return
            write_all(port, data)
        elif over:
            return


def count_boot() -> int:
    """The number of this boot of the VM, from 1."""
    boot = int(BOOTS.read_text()) + 1 if BOOTS.exists() else 1
    BOOTS.write_text(str(boot))
    return boot


def run_command(command: str, ports: dict[str, int], boot: int) -> int:
    """Run under bash as root in /root; returns what a shell would call its status."""
    process = subprocess.Popen(
        ["/bin/bash", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=HOME,
        env={**ENVIRONMENT, "LICTOR_BOOT": str(boot)},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    ended = threading.Event()
    pumps = [
        threading.Thread(target=pump, args=(pipe.fileno(), ports[name], ended))
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr))
    ]
    with process.stdout, process.stderr:
        for thread in pumps:
            thread.start()
        status = process.wait()
        ended.set()
        for thread in pumps:
            thread.join()
    return status if status >= 0 else 128 - status


def install(stderr: int) -> bool:
    """`make install` of the checkout, as README.md tells an operator."""
    done = subprocess.run(
        ["make", "-C", str(CHECKOUT), "install"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
        check=False,
    )
    if done.returncode != 0:
        write_all(stderr, b"make install failed in the VM:\n" + done.stdout)
    return done.returncode == 0


def main() -> int:
    orders = json.loads((JOB / "orders.json").read_text())
    ports = {name: open_port(name) for name in ("control", "stdout", "stderr", "results")}

    def report(**message: object) -> None:
        write_all(ports["control"], json.dumps(message).encode() + b"\n")

    for folder in (SHARE, RESULTS):
        folder.mkdir(exist_ok=True)
    status, boot = HARNESS_FAILED, count_boot()
    report(phase=f"installing, boot {boot}", uptime=time.clock_gettime(time.CLOCK_BOOTTIME))
    if boot > LAST_BOOT:
        write_all(ports["stderr"], b"the VM booted once too often; see its console\n")
    elif boot > 1 or install(ports["stderr"]):
        report(phase="running", uptime=time.clock_gettime(time.CLOCK_BOOTTIME))
        status = run_command(orders["command"], ports, boot)
    if orders["results"]:
        archive = ["tar", "--create", "--directory", str(RESULTS), "."]
        subprocess.run(archive, stdout=ports["results"], check=True)
    # The host ends the VM when it has read this.
    report(phase="done", status=status)
    time.sleep(60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
