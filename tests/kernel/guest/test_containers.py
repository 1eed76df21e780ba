# SPDX-License-Identifier: Apache-2.0
"""A real privileged container: covered from its first instruction, judged by what it sees."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.contract.event import exact_bytes
from enforcer import cgroups
from tests.kernel.guest.attempts import programs
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.nodes import CountedNode
from tests.kernel.guest.programs import SOURCES
from tests.kernel.guest.world import AppliedPolicy, Lictor

PARENT = "/guest-pods"
POLICY = f"""
    select: [{{cgroup: {PARENT}/*}}]
    egress: none
    exec: {{allow: [/bin/**], deny: [/bin/denied]}}
    devices: {{allow: [standard], gpus: none}}
"""
# Only the shell's own means: whatever it starts is one of the attempts.
SCRIPT = """
/bin/allowed; echo " $?"
/bin/denied; echo "$?"
/tools/allowed; echo "$?"
(: </dev/nvidia0); echo "$?"
(: </dev/null); echo "$?"
"""


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A root file system with a shell and the witness under several names."""
    folder = Path("/srv/guest-root")
    for name in ("bin", "tools", "proc", "sys", "dev", "etc", "run", "tmp"):
        (folder / name).mkdir(parents=True)
    witness = folder / "bin/allowed"
    source = SOURCES / "witness.c"
    subprocess.run(["gcc", "-O1", "-static", "-o", witness, source], check=True)
    shutil.copy(witness, folder / "bin/denied")
    shutil.copy(witness, folder / "tools/allowed")
    shutil.copy("/bin/busybox", folder / "bin/sh")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def pods() -> Iterator[str]:
    """The containers' parent cgroup, removed at the end with what podman leaves in it."""
    cgroups.folder(PARENT).mkdir()
    yield PARENT
    for path, _ in reversed(list(cgroups.walk(PARENT))):
        cgroups.folder(path).rmdir()


def test_privileged_container_is_judged_by_the_paths_that_it_sees(
    root: Path,
    pods: str,
    lictor: Lictor,
    policy: Callable[..., AppliedPolicy],
    gpus: dict[str, CountedNode],
) -> None:
    for program in ("/bin/denied", "/tools/allowed"):
        assert attempt(programs.start_below, root, program) == Outcome("started")
    applied = policy(POLICY)
    gpus["nvidia0"].opens()

    done = subprocess.run(
        ["podman", "--cgroup-manager=cgroupfs", "run", "--rm", "--privileged", "--network=none",
         f"--cgroup-parent={pods}", "--rootfs", root, "/bin/sh", "-c", SCRIPT],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    # 126: a shell's word for a program that it may not start.
    assert done.stdout.split("\n") == ["started 0", "126", "126", "1", "0", ""], done.stderr
    assert gpus["nvidia0"].opens() == 0
    told = [event for event in lictor.events() if event["policy"] == applied.name]
    execs = [
        (exact_bytes(event["object"], "path"), event["rule"] or event["reason"])
        for event in told
        if event["kind"] == "exec"
    ]
    assert execs == [
        (b"/bin/sh", "exec.allow[0]"),
        (b"/bin/allowed", "exec.allow[0]"),
        (b"/bin/denied", "exec.deny[0]"),
        (b"/tools/allowed", "not_allowed"),
    ]
    denied = [event["object"] for event in told if event["decision"] == "denied"]
    assert denied[-1]["class"] == "nvidia"
    # podman's own helper is a workload beside it, and does nothing that is judged.
    judged = {event["workload"] for event in told if event["kind"] in ("exec", "device")}
    assert len(judged) == 1
    assert judged.pop().startswith(f"{pods}/libpod-")
