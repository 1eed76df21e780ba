# SPDX-License-Identifier: Apache-2.0
"""The guest tests on every boot of the matrix, two VMs at a time.

Most of them share a VM per boot. Those that restart Lictor under load or replay the incident get
VMs of their own, as a fresh machine has neither the others' events nor their GPU.
"""

import queue
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.kernel.harness import matrix, report
from tests.kernel.harness.image import REPOSITORY
from tests.kernel.harness.vm import run_vm

GUEST_TESTS = "tests/kernel/guest"
AT_ONCE = 2
TIMEOUT = 2400.0
RESULTS = REPOSITORY / "build/kernel-tests"


@dataclass(frozen=True)
class Boot:
    """A kernel, with `bpf` among its LSMs or without."""

    series: str
    lsm: bool

    @property
    def attachment(self) -> str:
        """How Lictor's programs attach there."""
        return "lsm" if self.lsm else "fmod_ret"

    def __str__(self) -> str:
        return f"{self.series}-{self.attachment}"


# Tests that restart Lictor or replay the incident take minutes under emulation, and what they
# show hardly depends on the kernel: they run where the matrix is oldest and where it is newest.
SELECTED_BOOTS = ("6.1-lsm", "7-fmod_ret")
OWN_VM = ("test_replay.py", "test_services.py", "test_survival.py")
LONG_TESTS = (*OWN_VM, "test_loader.py::test_un")
# Tests of what a boot brings: this sets the machine up, and they run after the next boot.
BEFORE_REBOOT = {"services": "tests.kernel.guest.services"}
REBOOT_SECONDS = 120  # forced: the unit that runs the command would else power the VM off
OLDEST_BOOT = ("6.1-lsm",)
LOADER_TESTS = (
    "test_canary.py::",
    "test_loader.py::test_a_",
    "test_loader.py::test_the_canary",
    "test_loader.py::test_the_tag_map",
)

BOOTS = tuple(Boot(kernel.series, lsm) for kernel in matrix.MATRIX for lsm in (True, False))


@dataclass(frozen=True)
class Machine:
    """A VM: its boot, and which of the boot's tests it is for."""

    boot: Boot
    part: str

    def __str__(self) -> str:
        return f"{self.boot}-{self.part}" if self.part else str(self.boot)


def machine_of(boot: Boot, node: str) -> Machine:
    """The VM in which the guest test `node` runs on `boot`."""
    file = node.removeprefix(f"{GUEST_TESTS}/").partition("::")[0]
    return Machine(boot, file.removeprefix("test_").removesuffix(".py") if file in OWN_VM else "")


def collect() -> list[str]:
    """Node ids of the guest tests, as this machine's pytest sees them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    command += ["-o", "addopts=", GUEST_TESTS]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        raise RuntimeError(f"{GUEST_TESTS}: cannot be collected:\n{listed.stdout}{listed.stderr}")
    return [line for line in listed.stdout.splitlines() if "::" in line]


def runs_on(boot: Boot, node: str) -> bool:
    """Whether the guest test `node` runs on `boot`: nearly all run on all."""
    test = node.removeprefix(f"{GUEST_TESTS}/")
    if test.startswith(LOADER_TESTS):
        return str(boot) in OLDEST_BOOT
    return not test.startswith(LONG_TESTS) or str(boot) in SELECTED_BOOTS


@dataclass
class Run:
    """One VM's tests: `problem` where the VM or its pytest did not come to an end."""

    nodes: Sequence[str]
    cases: dict[str, report.Case] = field(default_factory=dict)
    problem: str = ""
    done: threading.Event = field(default_factory=threading.Event)


class Runs:
    """Starts the VMs, longest first; `lines` gets what they say, as it comes."""

    def __init__(self, wanted: Mapping[Machine, Sequence[str]]) -> None:
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._runs = {machine: Run(nodes) for machine, nodes in wanted.items()}
        waiting = iter(sorted(self._runs.items(), key=lambda item: item[0].part, reverse=True))
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    item = next(waiting, None)
                if item is None:
                    return
                self._run(*item)

        # Daemon threads: an interrupted pytest ends, and its VMs with it.
        for _ in range(AT_ONCE):
            threading.Thread(target=work, daemon=True).start()

    def of(self, machine: Machine) -> Run:
        return self._runs[machine]

    def _run(self, machine: Machine, run: Run) -> None:
        try:
            self._run_vm(machine, run)
        except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
            run.problem = f"VM {machine}: {error}"
        finally:
            run.done.set()

    def _run_vm(self, machine: Machine, run: Run) -> None:
        folder = RESULTS / str(machine)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "junit.xml").unlink(missing_ok=True)
        result = run_vm(
            machine.boot.series,
            guest_command(machine, run.nodes),
            out=folder,
            lsm=machine.boot.lsm,
            reboots=machine.part in BEFORE_REBOOT,
            timeout=TIMEOUT,
            on_stdout=_Lines(str(machine), self.lines),
            on_stderr=_Lines(str(machine), self.lines),
        )
        (folder / "output.txt").write_bytes(result.stdout + result.stderr)
        if (folder / "junit.xml").exists():
            run.cases = report.parse((folder / "junit.xml").read_text())
        # pytest's 1 says that tests failed, which the cases tell better.
        if result.error or result.status not in (0, 1) or not run.cases:
            end = "\n".join(
                (result.stdout + result.stderr).decode(errors="replace").splitlines()[-25:]
            )
            ended = result.error or f"pytest ended with {result.status}"
            run.problem = f"VM {machine}: {ended}\n{end}\nconsole: {result.console_path}"


class _Lines:
    """Cuts a stream of bytes into lines, each with the VM's name before it."""

    def __init__(self, name: str, sink: queue.SimpleQueue[str]) -> None:
        self._name, self._sink, self._rest = name, sink, b""

    def __call__(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._sink.put(f"{self._name} | {line.decode(errors='replace')}")


def guest_command(machine: Machine, nodes: Iterable[str]) -> str:
    """pytest inside the VM; the tests learn from the environment what they should find."""
    boot = machine.boot
    python = "/opt/lictor/venv/bin/python"
    tests = (
        f"LICTOR_SERIES={boot.series} LICTOR_ATTACHMENT={boot.attachment}"
        f" {python} -m pytest -v --tb=short -p no:cacheprovider"
        f" --junitxml=/out/junit.xml {shlex.join(nodes)}"
    )
    if machine.part in BEFORE_REBOOT:
        prepare = f"{python} -m {BEFORE_REBOOT[machine.part]}"
        reboot = f"systemctl reboot --force && sleep {REBOOT_SECONDS}; exit 3"
        tests = f"if [ $LICTOR_BOOT = 1 ]; then {prepare} || exit 3; {reboot}; fi; {tests}"
    return f"cd /src/lictor && {tests}"
