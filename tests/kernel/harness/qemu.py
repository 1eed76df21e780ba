# SPDX-License-Identifier: Apache-2.0
"""The emulator: its command line, and one run of it with the guest's ports read."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernel.harness.kernels import Built
from tests.kernel.harness.progress import say

EMULATOR = "qemu-system-x86_64"
PORTS = ("control", "stdout", "stderr", "results")
CHUNK = 65536

Sink = Callable[[bytes], None]


@dataclass(frozen=True)
class Machine:
    """A VM to be started. `icount` makes one guest nanosecond one guest instruction.

    Without `reboots` a reboot, which a panic makes too, ends the VM.
    """

    kernel: Built
    root: Path
    job: Path
    console: Path
    icount: bool = False
    lsm: bool = True
    reboots: bool = False
    cpus: int = 2
    memory_mib: int = 3072

    def __str__(self) -> str:
        marks = ["" if self.lsm else " without bpf", " counting" if self.icount else ""]
        return self.kernel.version + "".join(marks)

    def kernel_parameters(self) -> list[str]:
        words = ["console=ttyS0", "rdinit=/init", "quiet", "loglevel=4", "panic=-1", "oops=panic"]
        words += ["random.trust_cpu=on", "nowatchdog", "net.ifnames=0", "systemd.show_status=0"]
        if not self.icount:
            # Guarding guest processes from each other costs 10 to 25 percent of
            # the speed; where instructions are counted, a real node's are.
            words.append("mitigations=off")
        if not self.lsm:
            kept = [name for name in self.kernel.security_modules if name != "bpf"]
            words.append(f"lsm={','.join(kept)}")
        return words

    def command_line(self, descriptors: dict[str, int]) -> list[str]:
        """The emulator's arguments; `descriptors` are the sockets behind the guest's ports."""
        if self.icount:
            speed = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"]
        else:
            speed = ["-accel", "tcg,thread=multi", "-smp", str(self.cpus)]
        # A harness that is killed takes its emulator along.
        words = ["setpriv", "--pdeathsig", "KILL", "--", EMULATOR]
        words += ["-machine", "q35", "-cpu", "Haswell-v4", "-m", str(self.memory_mib)]
        words += [*speed, "-nodefaults", "-no-user-config", "-display", "none"]
        words += ["-action", f"reboot={'reset' if self.reboots else 'shutdown'}"]
        words += ["-kernel", str(self.kernel.image), "-initrd", str(self.kernel.initrd)]
        words += ["-append", " ".join(self.kernel_parameters())]
        # In this order they are vda, vdb and vdc; writes go to a file that
        # vanishes with the emulator.
        for path in (self.root, self.kernel.modules, self.job):
            words += ["-drive", f"file={path},format=raw,if=virtio,snapshot=on,cache=unsafe"]
        words += ["-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console"]
        words += ["-device", "virtio-serial-pci"]
        for name, descriptor in descriptors.items():
            words += ["-chardev", f"socket,id={name},fd={descriptor}"]
            words += ["-device", f"virtserialport,chardev={name},name=lictor.{name}"]
        return words


@dataclass
class Outcome:
    """How a run ended: `status` of the command, or None and the reason why there is none."""

    status: int | None = None
    reason: str = ""
    timed_out: bool = False


@dataclass
class _Watch:
    """What the control port has said; read by the thread that waits."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    status: int | None = None
    closed: bool = False


def run(machine: Machine, sinks: dict[str, Sink], timeout: float) -> Outcome:
    """Start the VM, pass on what its ports say, wait for its command, and end it."""
    if shutil.which(EMULATOR) is None:
        return Outcome(reason=f"{EMULATOR} is not installed")
    pairs = {name: socket.socketpair() for name in PORTS}
    words = machine.command_line({name: pair[1].fileno() for name, pair in pairs.items()})
    emulator = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[pair[1].fileno() for pair in pairs.values()],
    )
    for pair in pairs.values():
        pair[1].close()
    watch = _Watch()
    readers = [
        threading.Thread(target=_read, args=(pairs[name][0], sinks[name]), daemon=True)
        for name in PORTS
        if name != "control"
    ]
    readers.append(
        threading.Thread(target=_follow, args=(pairs["control"][0], watch, machine), daemon=True)
    )
    for thread in readers:
        thread.start()
    try:
        with watch.changed:
            ended = watch.changed.wait_for(
                lambda: watch.closed or watch.status is not None, timeout
            )
    finally:
        emulator.kill()
        complaint = emulator.communicate()[1].decode(errors="replace")
        for thread in readers:
            thread.join()
    if watch.status is not None:
        return Outcome(status=watch.status)
    if not ended:
        return Outcome(reason=f"no end after {timeout:.0f} s", timed_out=True)
    return Outcome(reason=_why(complaint, machine.console))


def _why(complaint: str, console: Path) -> str:
    """What ended a VM early: the emulator's error, else the guest's panic."""
    errors = [line for line in complaint.splitlines() if "warning:" not in line]
    log = console.read_text(errors="replace") if console.exists() else ""
    panics = [line.strip() for line in log.splitlines() if "Kernel panic" in line]
    stopped = "the guest stopped before its command ended"
    return "; ".join(errors + panics[:1]) or stopped


def _read(port: socket.socket, sink: Sink) -> None:
    with port:
        while data := port.recv(CHUNK):
            sink(data)


def _follow(port: socket.socket, watch: _Watch, machine: Machine) -> None:
    """The control port: one JSON object a line, each a phase of the run."""
    began = time.monotonic()
    with port, port.makefile("rb") as lines:
        for line in lines:
            message = json.loads(line)
            if message["phase"] == "done":
                with watch.changed:
                    watch.status = message["status"]
                    watch.changed.notify_all()
            else:
                say(f"VM {machine}: {message['phase']} after {time.monotonic() - began:.0f} s")
    with watch.changed:
        watch.closed = True
        watch.changed.notify_all()
