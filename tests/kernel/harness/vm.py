# SPDX-License-Identifier: Apache-2.0
"""Boots a VM, runs one command in it as root, and gives back what it said.

From a shell (`make vm` is this, with its variables):

    python -m tests.kernel.harness.vm --kernel 6.1 [--share DIR] [--out DIR]
        [--icount] [--no-lsm] [--timeout SECONDS] 'COMMAND'

Standard output and error are the command's own, the exit status too. 124
means that it did not end in time, 125 that the VM could not run it.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn

from tests.kernel.harness import cache, image, job, kernels, matrix, progress, qemu
from tests.kernel.harness.progress import say, tail

DEFAULT_TIMEOUT = 1800.0
TIMED_OUT = 124
HARNESS_FAILED = 125
CONSOLES_KEPT = 60


@dataclass(frozen=True)
class VmResult:
    """`status` is the command's; `error` says why, where the VM did not get as far as that.

    `kernel` is the full version that ran.
    """

    kernel: str
    status: int
    stdout: bytes
    stderr: bytes
    console_path: Path
    error: str = ""


def run_vm(
    kernel: str,
    command: str,
    share: Path | None = None,
    out: Path | None = None,
    icount: bool = False,
    lsm: bool = True,
    reboots: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    on_stdout: qemu.Sink | None = None,
    on_stderr: qemu.Sink | None = None,
) -> VmResult:
    """Run `command` under bash in a fresh VM with this checkout installed.

    `kernel` is a prefix of a version in the matrix. `share` appears as a
    writable copy in /share; what the command leaves in /out comes back into
    `out`. `lsm` False boots without `bpf` among the LSMs. With `reboots` the
    command may boot the VM anew: it is run again then, with LICTOR_BOOT=2.
    The callbacks get the output as it comes, from threads of their own. Raises ValueError for a
    bad argument and RuntimeError where something could not be built.
    """
    built = kernels.choose(kernel)
    root = image.obtain()
    console = _new_console(built)
    outputs = {"stdout": bytearray(), "stderr": bytearray()}

    def keep(name: str, forward: qemu.Sink | None) -> qemu.Sink:
        def sink(data: bytes) -> None:
            outputs[name].extend(data)
            if forward is not None:
                forward(data)

        return sink

    with tempfile.TemporaryDirectory(prefix="lictor-vm-") as name:
        disk, results = Path(name) / "job.tar", Path(name) / "results.tar"
        scratch = Path(name) / "scratch"
        scratch.mkdir()
        job.write(disk, scratch, command, share, out is not None)
        machine = qemu.Machine(built, root, disk, console, icount=icount, lsm=lsm, reboots=reboots)
        with results.open("wb") as archive:
            sinks: dict[str, qemu.Sink] = {
                "stdout": keep("stdout", on_stdout),
                "stderr": keep("stderr", on_stderr),
                "results": partial(_append, archive),
            }
            ended = qemu.run(machine, sinks, timeout)
        if ended.status is not None and out is not None:
            _unpack_results(results, out)
    status, error = ended.status, ""
    if status is None:
        status = TIMED_OUT if ended.timed_out else HARNESS_FAILED
        log = console.read_text(errors="replace") if console.exists() else ""
        error = f"VM {built.version}: {ended.reason}; console {console} ends:\n{tail(log)}"
    return VmResult(
        built.version, status, bytes(outputs["stdout"]), bytes(outputs["stderr"]), console, error
    )


def _append(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def _new_console(built: kernels.Built) -> Path:
    """A file for the serial console; the newest few are kept."""
    folder = cache.root() / "consoles"
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.log"))[:-CONSOLES_KEPT]:
        old.unlink(missing_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    descriptor, name = tempfile.mkstemp(
        prefix=f"{stamp}-{built.version}-", suffix=".log", dir=folder
    )
    os.close(descriptor)
    return Path(name)


def _unpack_results(archive: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tar = ["tar", "--extract", "--no-same-owner"]
    progress.run("results", [*tar, "--file", archive, "--directory", out])


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vm", description="Run a command as root in a fresh VM with this checkout installed."
    )
    rows = ", ".join(kernel.series for kernel in matrix.MATRIX)
    parser.add_argument(
        "--kernel", default=matrix.DEFAULT, help=f"prefix of a version; the matrix has {rows}"
    )
    parser.add_argument("--share", type=Path, help="folder whose copy is /share in the VM")
    parser.add_argument("--out", type=Path, help="folder that gets what the command puts in /out")
    parser.add_argument("--icount", action="store_true", help="count instructions as nanoseconds")
    parser.add_argument("--no-lsm", action="store_true", help="boot without bpf among the LSMs")
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT, help="seconds")
    parser.add_argument(
        "command", nargs="?", default=os.environ.get("LICTOR_VM_COMMAND"), help="run by bash"
    )
    parsed = parser.parse_args(words)
    if not parsed.command:
        parser.error("no command; with make: make vm CMD='uname -a'")
    return parsed


def _stop(_signal: int, _frame: object) -> NoReturn:
    """Ends by an exception, so that the VM and its temporary files go too."""
    sys.exit(HARNESS_FAILED)


def _pass_on(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    # A reader that has gone, as in `make vm ... | head`, must not stop the VM.
    with contextlib.suppress(BrokenPipeError):
        while view:
            view = view[os.write(descriptor, view) :]


def main(words: list[str] | None = None) -> int:
    arguments = _arguments(words)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)

    try:
        result = run_vm(
            arguments.kernel,
            arguments.command,
            share=arguments.share,
            out=arguments.out,
            icount=arguments.icount,
            lsm=not arguments.no_lsm,
            timeout=arguments.timeout,
            on_stdout=partial(_pass_on, sys.stdout.fileno()),
            on_stderr=partial(_pass_on, sys.stderr.fileno()),
        )
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return HARNESS_FAILED
    if result.error:
        print(f"vm: {result.error}", file=sys.stderr)
    elif result.status != 0:
        status = result.status
        say(f"VM {result.kernel}: the command ended with {status}; console {result.console_path}")
    return result.status


if __name__ == "__main__":
    sys.exit(main())
