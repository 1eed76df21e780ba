# SPDX-License-Identifier: Apache-2.0
"""Guards `kernel`, `network`, `cgroups` and `pins`: state that is not one workload's."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer import cgroups
from enforcer.maps import PIN_ROOT
from tests.kernel.guest.actor import Actor
from tests.kernel.guest.child import Outcome
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.world import Lictor, Workload, denied

DONE = Outcome("")
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SETTINGS = {
    "/proc/sys/kernel/core_pattern": "proc",
    "/proc/sys/kernel/modprobe": "proc",
    "/proc/sys/net/ipv4/ip_forward": "proc",
    "/proc/sysrq-trigger": "proc",
    "/sys/kernel/mm/ksm/run": "sysfs",
    "/sys/kernel/tracing/tracing_on": "tracefs",
    "/proc/sys/fs/binfmt_misc/register": "binfmt_misc",
}


@pytest.fixture(scope="module")
def workload(lictor: Lictor) -> Iterator[Workload]:
    with lictor.confined("") as made:
        yield made


@pytest.fixture
def inside(workload: Workload) -> Iterator[Actor]:
    with Actor(workload) as actor:
        workload.mark()
        yield actor


@pytest.fixture
def outside() -> Iterator[Actor]:
    with Actor() as actor:
        yield actor


def told(workload: Workload) -> list[tuple[str, str, str | None]]:
    events = [event["object"] for event in workload.fresh_events("guard")]
    return [(object_["guard"], object_["operation"], object_["detail"]) for object_ in events]


@pytest.fixture(scope="module", autouse=True)
def mounted() -> None:
    """What a machine with more on it has mounted."""
    for kind, path in (
        ("tracefs", "/sys/kernel/tracing"), ("binfmt_misc", "/proc/sys/fs/binfmt_misc"),
    ):  # fmt: skip
        if not os.path.ismount(path):
            subprocess.run(["mount", "-t", kind, kind, path], check=True)
    subprocess.run(["modprobe", "-a", "binfmt_misc", "dummy"], check=True)


@pytest.mark.parametrize("path", SETTINGS)
def test_settings_of_the_kernel_are_read_and_not_written(
    path: str, workload: Workload, inside: Actor, outside: Actor
) -> None:
    assert outside.act("open-to-write", path) == DONE
    assert denied(inside.act("open-to-write", path))
    assert told(workload) == [("kernel", "write", SETTINGS[path])]
    if Path(path).stat().st_mode & 0o400:
        assert inside.act("read", path).errno is None
    assert workload.fresh_events("guard") == []


def test_a_written_setting_is_as_before(inside: Actor, outside: Actor) -> None:
    path = Path("/proc/sys/kernel/core_pattern")
    before = path.read_text()
    assert denied(inside.act("write", path, "|/tmp/helper"))
    assert path.read_text() == before
    assert outside.act("write", path, before.strip()) == DONE


@pytest.mark.parametrize("name", ["oom_score_adj", "comm", "coredump_filter", "uid_map"])
def test_files_of_a_process_are_its_own(name: str, workload: Workload, inside: Actor) -> None:
    assert inside.act("open-to-write", f"/proc/self/{name}") == DONE
    assert workload.fresh_events("guard") == []


def test_modules_stay_as_they_are(workload: Workload, inside: Actor, outside: Actor) -> None:
    found = subprocess.run(
        ["modinfo", "-F", "filename", "dummy"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert denied(inside.act("unload-module", "dummy"))
    assert Path("/sys/module/dummy").exists()
    assert outside.act("unload-module", "dummy") == DONE
    assert denied(inside.act("load-module", found))
    assert not Path("/sys/module/dummy").exists()
    assert told(workload) == [("kernel", "capability", "CAP_SYS_MODULE")] * 2


def test_no_module_is_loaded_on_the_workload_s_behalf(
    workload: Workload, inside: Actor, outside: Actor
) -> None:
    loaded = Path("/sys/module/af_alg")
    subprocess.run(["modprobe", "-rq", "algif_hash", "af_alg"], check=False)
    assert not loaded.exists()
    words = ("socket", socket.AF_ALG, socket.SOCK_SEQPACKET, 0)
    assert inside.act(*words).errno == errno.EAFNOSUPPORT
    assert not loaded.exists()
    assert set(told(workload)) == {("kernel", "module_request", None)}
    outside.number(*words)
    assert loaded.exists()


@pytest.mark.parametrize(
    ("words", "operation", "detail"),
    [
        (("bpf",), "bpf", "0"),
        (("perf",), "perf", None),
        (("raw-ports", 3), "capability", "CAP_SYS_RAWIO"),
    ],
)
def test_ways_into_the_kernel_are_closed(
    words: tuple[object, ...],
    operation: str,
    detail: str | None,
    workload: Workload,
    inside: Actor,
    outside: Actor,
) -> None:
    assert outside.act(*words).errno is None
    assert denied(inside.act(*words))
    assert told(workload) == [("kernel", operation, detail)]


@pytest.fixture
def link() -> Iterator[str]:
    subprocess.run(["ip", "link", "add", "guard0", "type", "veth"], check=True)
    yield "guard0"
    subprocess.run(["ip", "link", "del", "guard0"], check=True)


def test_the_network_of_home_is_read_and_not_configured(
    link: str, workload: Workload, inside: Actor, outside: Actor
) -> None:
    assert outside.act("link-up", link, 1).errno is None
    assert outside.act("link-read", link) == Outcome("1")
    assert outside.act("link-up", link, 0).errno is None
    assert denied(inside.act("link-up", link, 1))
    assert inside.act("link-read", link) == Outcome("0")
    assert told(workload) == [("network", "capability", "CAP_NET_ADMIN")]
    for words in (
        ["ip", "address", "add", "10.98.0.1/24", "dev", link],
        ["ip", "route", "add", "blackhole", "10.98.1.0/24"],
        ["nft", "add", "table", "inet", "guard"],
    ):
        assert workload.run(_status, words).value != 0
    shown = subprocess.run(
        ["sh", "-c", "ip address; ip route; nft list tables"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "10.98." not in shown
    assert "guard\n" not in shown
    workload.mark()
    for words in (["ip", "address"], ["ip", "route"], ["ip", "-s", "link"], ["ss", "-tunap"]):
        assert workload.run(_status, words) == Outcome(0)
    # ss looks for modules that list sockets and for the processes that hold them, and asks
    # whether it may see more.
    operations = {event["object"]["operation"] for event in workload.fresh_events("guard")}
    assert operations <= {"read", "module_request", "capability"}


def _status(words: list[str]) -> int:
    return subprocess.run(words, capture_output=True, check=False).returncode


def test_a_network_of_its_own_is_configured(workload: Workload, inside: Actor) -> None:
    assert inside.act("unshare", CLONE_NEWUSER | CLONE_NEWNET) == DONE
    assert inside.act("link-up", "lo", 1).errno is None
    assert inside.act("link-read", "lo") == Outcome("1")
    assert workload.fresh_events("guard") == []


def test_only_cgroups_of_its_own_are_filled(
    workload: Workload, inside: Actor, outside: Actor
) -> None:
    own = cgroups.folder(workload.path)
    other = cgroups.folder("/guard-elsewhere")
    other.mkdir()
    child = inside.number("child")
    for folder in (other, cgroups.folder("/")):
        assert denied(inside.act("write", folder / "cgroup.procs", child))
    assert Path(f"/proc/{child}/cgroup").read_text() == f"0::{workload.path}\n"
    assert told(workload) == [("cgroups", "write", "cgroup2")] * 2
    assert inside.act("mkdir", own / "below") == DONE
    assert inside.act("write", own / "below/cgroup.procs", child) == DONE
    assert Path(f"/proc/{child}/cgroup").read_text() == f"0::{workload.path}/below\n"
    assert inside.act("write", own / "cgroup.procs", child) == DONE
    assert inside.act("unlink", own / "below", 1) == DONE
    assert workload.fresh_events() == []
    assert outside.act("write", other / "cgroup.procs", child) == DONE
    assert inside.act("signal", child, 9) == DONE
    inside.act("reap", child)
    other.rmdir()


def test_pins_stay_where_they_are(workload: Workload, inside: Actor, outside: Actor) -> None:
    folder = Path("/sys/fs/bpf/guard")
    tags = PIN_ROOT / "tags"
    assert outside.act("mkdir", folder) == DONE
    assert denied(inside.act("unlink", tags))
    assert denied(inside.act("rename", tags, folder / "tags"))
    assert denied(inside.act("unlink", folder, 1))
    assert tags.exists()
    assert told(workload) == [
        ("pins", "remove", "bpf"), ("pins", "rename", "bpf"), ("pins", "remove", "bpf"),
    ]  # fmt: skip
    assert outside.act("unlink", folder, 1) == DONE


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        ("kernel", ("open-to-write", "/proc/sys/kernel/core_pattern")),
        ("kernel", ("bpf",)),
        ("kernel", ("raw-ports", 3)),
        ("network", ("link-up", "lo", 1)),
        ("cgroups", ("open-to-write", "/sys/fs/cgroup/cgroup.procs")),
    ],
)
def test_a_guard_is_opened_by_name(guard: str, words: tuple[object, ...], confine: Confine) -> None:
    workload = confine(f"guards: {{allow: [{guard}]}}")
    with Actor(workload) as actor:
        assert actor.act(*words).errno is None
    assert [event for event in workload.events() if event["kind"] == "guard"] == []
