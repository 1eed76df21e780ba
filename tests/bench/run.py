# SPDX-License-Identifier: Apache-2.0
"""Counts what hooks and a policy's way to the kernel cost, in VMs; then times the control plane.

`make bench` is this.

    python -m tests.bench.run [--kernels '6.1 6.12'] [--attach lsm|fmod_ret|both] [--update-docs]

Writes hooks.json and controlplane.json into build/bench and prints their tables. Exit: 0 measured,
whether or not the design's numbers hold (the tables say so); 1 something could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

from tests.bench import native, table
from tests.bench.targets import Repetition, all_added, findings
from tests.kernel.harness import matrix
from tests.kernel.harness.image import REPOSITORY
from tests.kernel.harness.progress import say
from tests.kernel.harness.vm import run_vm

RESULTS = REPOSITORY / "build/bench"
DOCUMENT = REPOSITORY / "docs/benchmarks.md"
README = REPOSITORY / "README.md"
TIMEOUT = 3000.0
ATTACH = ("lsm", "fmod_ret", "both")
VERSION = 1
GUEST_COMMAND = (
    "cd /src/lictor && /opt/lictor/venv/bin/python -m tests.bench.guest /out/counts.json"
)


def measure(kernel: str, *, lsm: bool) -> dict[str, Any]:
    """The raw figures of one boot. RuntimeError if it did not come to an end."""
    folder = RESULTS / f"{kernel}-{'lsm' if lsm else 'fmod_ret'}"
    result = run_vm(
        kernel, GUEST_COMMAND, out=folder, icount=True, lsm=lsm, timeout=TIMEOUT,
        on_stdout=_pass_on, on_stderr=_pass_on,
    )  # fmt: skip
    if result.error or result.status != 0:
        raise RuntimeError(
            result.error or f"VM {result.kernel}: the benchmark ended with {result.status}"
        )
    raw: dict[str, Any] = json.loads((folder / "counts.json").read_text())
    raw["kernel"] = result.kernel
    return raw


def _pass_on(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.flush()


def boot_entry(raw: dict[str, Any]) -> dict[str, Any]:
    """One boot in hooks.json: the raw figures and what follows from them."""
    return {
        **raw,
        "added": all_added(raw["counts"]),
        "targets": [found.to_json() for found in findings(raw)],
        "repetition": asdict(Repetition.of(raw["counts"])),
    }


def report(boots: list[dict[str, Any]]) -> dict[str, Any]:
    """hooks.json."""
    return {
        "version": VERSION,
        "time": time.time(),
        "unit": "guest instructions: medians in a VM where an instruction takes a nanosecond",
        "boots": [boot_entry(raw) for raw in boots],
    }


def update_docs(boots: list[dict[str, Any]], sections: str, command: str) -> None:
    """Put all tables into docs/benchmarks.md, and the first boot's hooks into README.md."""
    figures = f"Made by `{command}`.\n\n{sections}"
    DOCUMENT.write_text(table.replace_figures(DOCUMENT.read_text(), figures))
    first = boots[0]
    title = f"Linux {first['kernel']}, made by `{command}`; instructions added, medians:"
    short = f"{title}\n\n{table.hook_table(first['counts'])}"
    README.write_text(table.replace_figures(README.read_text(), short, table.README_MARKERS))
    say(f"{DOCUMENT.relative_to(REPOSITORY)} and README.md have the new figures")


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Count what each hook costs.")
    parser.add_argument(
        "--kernels",
        default=os.environ.get("KERNELS", matrix.DEFAULT),
        help="prefixes of versions, separated by blanks (also: make bench KERNELS='6.1 6.12')",
    )
    parser.add_argument(
        "--attach",
        choices=ATTACH,
        default=os.environ.get("ATTACH", "lsm"),
        help="with bpf among the LSMs, without, or one after the other (also: ATTACH=both)",
    )
    parser.add_argument(
        "--update-docs", action="store_true", help="put the tables into docs/benchmarks.md"
    )
    parsed = parser.parse_args(words)
    if parsed.attach not in ATTACH:
        # argparse does not look at defaults.
        parser.error(f"ATTACH: {parsed.attach!r} is none of {', '.join(ATTACH)}")
    return parsed


def _write(name: str, content: dict[str, Any]) -> None:
    (RESULTS / name).write_text(json.dumps(content, indent=1) + "\n")
    say(f"{(RESULTS / name).relative_to(REPOSITORY)} is written")


def main(words: list[str] | None = None) -> int:
    """Entry point."""
    arguments = _arguments(words)
    modes = (True, False) if arguments.attach == "both" else (arguments.attach == "lsm",)
    RESULTS.mkdir(parents=True, exist_ok=True)
    try:
        boots = [measure(kernel, lsm=lsm) for kernel in arguments.kernels.split() for lsm in modes]
        without_vm = native.measure(say)
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    _write("hooks.json", report(boots))
    _write("controlplane.json", {"version": VERSION, "time": time.time(), **without_vm})
    sections = "\n\n".join([*map(table.section, boots), table.native_section(without_vm)])
    print(sections)
    if arguments.update_docs:
        settings = f"KERNELS='{arguments.kernels}' ATTACH={arguments.attach}"
        update_docs(boots, sections, f"make bench {settings}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
