# SPDX-License-Identifier: Apache-2.0
"""The emulator's command line, and a run against a stand-in for the emulator."""

import sys
from pathlib import Path

import pytest

from tests.kernel.harness import qemu
from tests.kernel.harness.kernels import Built

# Speaks on the ports as the guest does; %s is what it does last.
STAND_IN = """#!{python} -I
import os, re, sys, time
ports = dict(re.findall(r"socket,id=(\\w+),fd=(\\d+)", " ".join(sys.argv)))
console = re.search(r"path=(\\S+)", " ".join(sys.argv))[1]
def write(name, data):
    os.write(int(ports[name]), data)
{last}
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Built:
    (tmp_path / "lsm").write_text("landlock,yama,apparmor,bpf\n")
    return Built(tmp_path, "6.1.192", "6.1.0-56-amd64")


def machine(kernel: Built, tmp_path: Path, icount: bool = False, lsm: bool = True) -> qemu.Machine:
    console = tmp_path / "console.log"
    return qemu.Machine(
        kernel, tmp_path / "root", tmp_path / "job", console, icount=icount, lsm=lsm
    )


def test_debians_lsm_list_stands_unless_bpf_is_to_go(kernel: Built, tmp_path: Path) -> None:
    assert not any(
        word.startswith("lsm=") for word in machine(kernel, tmp_path).kernel_parameters()
    )
    without = machine(kernel, tmp_path, lsm=False).kernel_parameters()
    assert "lsm=landlock,yama,apparmor" in without


def test_instructions_are_counted_on_one_cpu_as_a_node_runs_them(
    kernel: Built, tmp_path: Path
) -> None:
    counting = machine(kernel, tmp_path, icount=True)
    line = " ".join(counting.command_line({}))
    assert "-accel tcg,thread=single -icount shift=0,sleep=off -smp 1" in line
    assert "mitigations=off" not in line


def test_disks_keep_their_order_and_are_never_written(kernel: Built, tmp_path: Path) -> None:
    words = machine(kernel, tmp_path).command_line({})
    drives = [word for word in words if word.startswith("file=")]
    assert [drive.split(",")[0] for drive in drives] == [
        f"file={tmp_path}/root",
        f"file={tmp_path}/modules.img",
        f"file={tmp_path}/job",
    ]
    assert all("snapshot=on" in drive for drive in drives)


def run_stand_in(
    kernel: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str, timeout: float = 30
) -> tuple[qemu.Outcome, dict[str, bytes]]:
    stand_in = tmp_path / "emulator"
    stand_in.write_text(STAND_IN.format(python=sys.executable, last=last))
    stand_in.chmod(0o755)
    monkeypatch.setattr(qemu, "EMULATOR", str(stand_in))
    heard = {"stdout": b"", "stderr": b"", "results": b""}

    def sink(name: str) -> qemu.Sink:
        def take(data: bytes) -> None:
            heard[name] += data

        return take

    sinks = {name: sink(name) for name in heard}
    return qemu.run(machine(kernel, tmp_path), sinks, timeout), heard


def test_each_port_arrives_byte_for_byte(
    kernel: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = (
        'write("stdout", bytes(range(256)) * 100)\n'
        'write("stderr", b"\\xff\\r\\n")\n'
        'write("results", b"tar")\n'
        'write("control", b\'{"phase": "running"}\\n{"phase": "done", "status": 7}\\n\')\n'
        "time.sleep(60)"
    )
    outcome, heard = run_stand_in(kernel, tmp_path, monkeypatch, last)
    assert outcome.status == 7
    assert heard == {"stdout": bytes(range(256)) * 100, "stderr": b"\xff\r\n", "results": b"tar"}


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ("pass", "the guest stopped before its command ended"),
        ("sys.exit('emulator: no such machine')", "emulator: no such machine"),
        (
            "open(console, 'w').write('[1.0] Kernel panic - not syncing: x\\n')",
            "[1.0] Kernel panic - not syncing: x",
        ),
    ],
)
def test_guest_that_dies_is_told_with_its_cause(
    kernel: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str, reason: str
) -> None:
    outcome, _ = run_stand_in(kernel, tmp_path, monkeypatch, last)
    assert outcome.status is None
    assert outcome.reason == reason
    assert not outcome.timed_out


def test_guest_that_hangs_is_ended(
    kernel: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, _ = run_stand_in(kernel, tmp_path, monkeypatch, "time.sleep(60)", timeout=0.5)
    assert outcome.timed_out
    assert outcome.status is None


def test_missing_emulator_is_named(
    kernel: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "EMULATOR", "no-such-emulator")
    outcome = qemu.run(machine(kernel, tmp_path), {}, 1)
    assert outcome.reason == "no-such-emulator is not installed"
