# SPDX-License-Identifier: Apache-2.0
"""``make demo``: the replay from start to report, in a VM where this host does not enforce.

Plays the trajectory twice on the same kernel: without Lictor, to show that every
attack works, then with it. Leaves build/demo/report.json, report.html and the far
side's logs of both runs. Exit status 0 only if every step held with Lictor and every
attack succeeded without; 1 if not; 2 if the replay could not be brought up.

KERNEL in the environment chooses the VM's kernel (6.1 unless told), LSM=off boots it
without ``bpf`` among the LSMs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.kernel.harness.matrix import DEFAULT
from tests.kernel.harness.vm import run_vm
from tests.replay import page, table
from tests.replay.lictor_command import LictorCommand
from tests.replay.places import GPU_MAJOR, WORKSPACE

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "build" / "demo"
RUNS = {"off": "without-lictor", "on": "with-lictor"}
IN_VM = "cd /src/lictor && /opt/lictor/venv/bin/python -m tests.replay.guest"
TIMEOUT = 1800.0


def why_not_here() -> str | None:
    """Why this host cannot play the replay itself, or None where it can."""
    if os.geteuid() != 0:
        return "not root"
    if WORKSPACE.exists():
        return f"{WORKSPACE} exists"
    devices = Path("/proc/devices").read_text()
    if any(line.split()[:1] == [str(GPU_MAJOR)] for line in devices.splitlines()):
        return "a real NVIDIA driver has the GPU's device numbers"
    try:
        enforcing = LictorCommand().enforcing()
    except RuntimeError as failure:
        return str(failure)
    return None if enforcing else "lictor doctor: not enforcing on this host"


def play_here() -> None:
    """Both runs on this host; what they say goes to our own output."""
    for switch, name in RUNS.items():
        command = [sys.executable, "-m", "tests.replay.guest", "--lictor", switch]
        subprocess.run([*command, "--out", str(FOLDER / name)], cwd=REPOSITORY, check=False)


def play_in_vm(kernel: str, lsm: bool) -> None:
    """Both runs in one VM. Errors: ``RuntimeError`` where the VM itself failed."""
    runs = [f"{IN_VM} --lictor {switch} --out /out/{name}" for switch, name in RUNS.items()]

    def forward(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    result = run_vm(
        kernel,
        "; ".join(runs),
        out=FOLDER,
        lsm=lsm,
        timeout=TIMEOUT,
        on_stdout=forward,
        on_stderr=forward,
    )
    if result.error:
        raise RuntimeError(result.error)


def read(name: str) -> dict[str, Any]:
    """A run's report. Errors: ``RuntimeError`` where the run left none."""
    path = FOLDER / name / "report.json"
    try:
        report: dict[str, Any] = json.loads(path.read_text())
    except OSError:
        raise RuntimeError(f"{path}: the run left no report; see its output above") from None
    return report


def combine(report: dict[str, Any], baseline: dict[str, Any]) -> dict[str, Any]:
    """The report with what the same trajectory did without Lictor."""
    observed = {step["id"]: step["observed"]["summary"] for step in baseline["steps"]}
    without = {
        "attacks": baseline["attacks"],
        "attacks_succeeded": baseline["attacks_succeeded"],
        "legitimate_right": baseline["legitimate_right"],
        "observed": observed,
    }
    return {**report, "without_lictor": without}


def good(report: dict[str, Any]) -> bool:
    """Whether the demo proved its case: all held, and every attack was a real one."""
    without = report["without_lictor"]
    real = without["attacks_succeeded"] == without["attacks"] and without["legitimate_right"]
    return bool(report["held"] and real)


def main() -> int:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    kernel = os.environ.get("KERNEL") or DEFAULT
    try:
        if (reason := why_not_here()) is None:
            print("demo: this host enforces: the replay runs here", flush=True)
            play_here()
        else:
            print(f"demo: in a VM with kernel {kernel} ({reason})", flush=True)
            play_in_vm(kernel, lsm=os.environ.get("LSM") != "off")
        report = combine(read(RUNS["on"]), read(RUNS["off"]))
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 2
    (FOLDER / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (FOLDER / "report.html").write_text(page.render(report))
    print(f"\n{table.render(report)}\nreport: {FOLDER / 'report.html'} and report.json", flush=True)
    return 0 if good(report) else 1


if __name__ == "__main__":
    sys.exit(main())
