# SPDX-License-Identifier: Apache-2.0
"""Which tasks a policy covers, from when on, and what leaving a workload brings."""

from __future__ import annotations

import contextlib
import functools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.contract.wire import RequestError
from enforcer import cgroups
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.programs import compiled, run_lictor, wait_until
from tests.kernel.guest.world import AppliedPolicy, Event, Lictor

ROOT = Path("/sys/fs/cgroup")
Policy = Callable[..., AppliedPolicy]
# bash says each failure in two lines.
TWO_ATTEMPTS = "for n in 1 2; do read x; (echo > /dev/tcp/127.0.0.1/9) 2>&1; done"


@pytest.fixture
def cgroup() -> Iterator[Callable[[str], str]]:
    """`cgroup(path)` makes a cgroup with its parents; all are removed at the end."""
    made: list[str] = []

    def make(path: str) -> str:
        parts = path.strip("/").split("/")
        for end in range(1, len(parts) + 1):
            folder = ROOT.joinpath(*parts[:end])
            if not folder.exists():
                folder.mkdir()
            made.append(str(folder))
        return path

    yield make
    for folder in sorted(set(made), key=len, reverse=True):
        with contextlib.suppress(FileNotFoundError):
            (Path(folder) / "cgroup.kill").write_text("1")
            wait_until(functools.partial(_empty, folder), f"{folder} to be empty")
            Path(folder).rmdir()


def _empty(folder: str) -> bool:
    return "populated 0" in (Path(folder) / "cgroup.events").read_text()


def _connect() -> None:
    import socket

    with socket.socket() as client:
        client.settimeout(2)
        client.connect(("127.0.0.1", 9))


def _covered(outcome: Outcome) -> bool:
    """Denied by us, or refused by the closed port: nothing else may happen."""
    assert outcome.errno in (1, 111), outcome
    return outcome.errno == 1


def _last(lictor: Lictor, **filters: str) -> Event:
    return lictor.events(**filters)[-1]


@pytest.mark.parametrize(
    ("selector", "covered", "free"),
    [
        ("/sel-a", ["/sel-a", "/sel-a/x", "/sel-a/x/y"], ["/sel-b"]),
        ("/sel-a/*", ["/sel-a/x", "/sel-a/x/y"], ["/sel-a", "/sel-b"]),
        ("/sel-a/**", ["/sel-a", "/sel-a/x", "/sel-a/x/y"], ["/sel-b"]),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_selector_covers_cgroups_made_before_and_after(
    lictor: Lictor, policy: Policy, cgroup: Callable[[str], str],
    selector: str, covered: list[str], free: list[str], when: str,
) -> None:  # fmt: skip
    if when == "before":
        for path in covered + free:
            cgroup(path)
    policy(f"select: [{{cgroup: {selector}}}]\negress: none")
    for path in covered + free:
        cgroup(path)
    if "/sel-a/x" in covered and when == "after" and selector == "/sel-a":
        # Nobody could arm it before it was made: its first sockets may have to wait.
        lictor.request("drain")
    assert [_covered(attempt(_connect, cgroup=path)) for path in covered] == [True] * len(covered)
    assert [_covered(attempt(_connect, cgroup=path)) for path in free] == [False] * len(free)


MONITOR = "libpod-conmon-0a1b.scope"


@pytest.mark.parametrize("selector", ["/sel-a/*", "/sel-a/**"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_containers_monitor_is_outside(
    lictor: Lictor, policy: Policy, cgroup: Callable[[str], str], selector: str, when: str
) -> None:
    monitor, beside = f"/sel-a/{MONITOR}", "/sel-a/libpod-0a1b.scope"
    if when == "before":
        cgroup(monitor)
        cgroup(beside)
    policy(f"select: [{{cgroup: {selector}}}]\negress: none")
    for path in (monitor, beside, f"{beside}/{MONITOR}"):
        cgroup(path)
    lictor.request("drain")
    assert not _covered(attempt(_connect, cgroup=monitor))
    assert _covered(attempt(_connect, cgroup=beside))
    assert _covered(attempt(_connect, cgroup=f"{beside}/{MONITOR}"))


@pytest.mark.parametrize("form", ["*", "**"])
@pytest.mark.parametrize("leave", [False, True], ids=["inside", "after leaving"])
def test_a_workload_cannot_make_itself_a_monitors_place(
    lictor: Lictor, policy: Policy, cgroup: Callable[[str], str], form: str, leave: bool
) -> None:
    """Root that sees the host's cgroups."""
    policy(f"select: [{{cgroup: /sel-a/{form}}}]\negress: none")
    cgroup("/sel-a/x")
    monitor = cgroups.folder(f"/sel-a/{MONITOR}")

    def make_and_enter() -> int | None:
        if leave:
            with contextlib.suppress(OSError):
                _connect()
            (cgroups.ROOT / "cgroup.procs").write_text("0")
        monitor.mkdir()
        (monitor / "cgroup.procs").write_text("0")
        try:
            _connect()
        except OSError as error:
            return error.errno
        return None

    assert attempt(make_and_enter, cgroup="/sel-a/x").value == 1
    lictor.request("drain")
    cgroup(f"/sel-a/{MONITOR}")
    assert _covered(attempt(_connect, cgroup=f"/sel-a/{MONITOR}"))


@pytest.mark.parametrize(
    ("selector", "workload"),
    [("/sel-a", "/sel-a"), ("/sel-a/*", "/sel-a/x"), ("/sel-a/**", "/sel-a/x")],
)
def test_the_workload_is_the_outermost_match(
    lictor: Lictor, policy: Policy, cgroup: Callable[[str], str], selector: str, workload: str
) -> None:
    policy(f"select: [{{cgroup: {selector}}}]\negress: none")
    cgroup("/sel-a/x/y")
    lictor.request("drain")
    attempt(_connect, cgroup="/sel-a/x/y")
    event = _last(lictor, kind="connect")
    assert event["workload"] == workload
    assert event["tag"]["cgroup"] == cgroups.cgroup_id("/sel-a/x/y")


def test_a_process_from_before_the_policy_is_covered(
    lictor: Lictor, policy: Policy, cgroup: Callable[[str], str]
) -> None:
    del lictor
    cgroup("/sel-a/old")
    with subprocess.Popen(
        ["bash", "-c", TWO_ATTEMPTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        (ROOT / "sel-a/old/cgroup.procs").write_text(str(shell.pid))
        shell.stdin.write("go\n")
        shell.stdin.flush()
        assert "refused" in shell.stdout.readline() + shell.stdout.readline()
        policy("select: [{cgroup: /sel-a/**}]\negress: none")
        shell.stdin.write("go\n")
        shell.stdin.flush()
        assert "Operation not permitted" in shell.stdout.read()


def test_two_policies_on_one_cgroup_are_refused_naming_both(policy: Policy) -> None:
    first = policy("select: [{cgroup: /sel-a/**}]\negress: none")
    with pytest.raises(RequestError) as refused:
        policy("select: [{cgroup: /sel-a/b}]\negress: any", name="second")
    assert first.name in str(refused.value)
    assert "second" in str(refused.value)
    assert "/sel-a/b" in str(refused.value)


@pytest.mark.parametrize("way", ["write", "clone"])
def test_who_leaves_the_cgroup_gets_nothing_and_is_told_of(
    lictor: Lictor, policy: Policy, cgroup: Callable[[str], str], way: str
) -> None:
    cgroup("/sel-free")
    lictor_policy = policy(
        "select: [{cgroup: /sel-a/**}]\negress: {allow: [{to: 127.0.0.0/8}]}\ndevices: any\n"
        "guards: {allow: [cgroups]}"
    )
    cgroup("/sel-a/x")
    command = [compiled("move_out"), str(ROOT / "sel-free"), way, "127.0.0.1", "9"]

    def leave() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert attempt(leave).value == "111"
    assert _covered(attempt(_connect, cgroup="/sel-a/x")) is False
    assert attempt(leave, cgroup="/sel-a/x").value == "1"
    escapes = [e for e in lictor.events(kind="escape") if e["policy"] == lictor_policy.name]
    assert [e["tag"]["cgroup"] for e in escapes] == [cgroups.cgroup_id("/sel-free")]
    denied = [e for e in lictor.events(decision="denied") if e["policy"] == lictor_policy.name]
    assert denied
    assert {e["reason"] for e in denied} == {"escaped"}
    assert {e["tag"]["escaped"] for e in denied} == {True}


def test_a_cgroup_of_another_policy_is_no_way_out(
    policy: Policy, cgroup: Callable[[str], str]
) -> None:
    policy("select: [{cgroup: /sel-a/**}]\negress: none\nguards: {allow: [cgroups]}")
    policy("select: [{cgroup: /sel-b/**}]\negress: any")
    cgroup("/sel-a/x")
    cgroup("/sel-b/x")
    command = [compiled("move_out"), str(ROOT / "sel-b/x"), "write", "127.0.0.1", "9"]

    def leave() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert attempt(leave, cgroup="/sel-b/x").value == "111"
    assert attempt(leave, cgroup="/sel-a/x").value == "1"


def test_the_newest_revision_of_the_policy_applies_to_running_tasks(
    lictor: Lictor, policy: Policy, cgroup: Callable[[str], str]
) -> None:
    first = policy("select: [{cgroup: /sel-a/**}]\negress: none")
    cgroup("/sel-a/x")
    assert _covered(attempt(_connect, cgroup="/sel-a/x"))
    second = policy(
        "select: [{cgroup: /sel-a/**}]\negress: {allow: [{to: 127.0.0.1}]}", name=first.name
    )
    assert second.revision == first.revision + 1
    assert not _covered(attempt(_connect, cgroup="/sel-a/x"))
    assert _last(lictor, kind="connect")["revision"] == second.revision


def test_a_removed_policy_lets_go_of_its_tasks(
    lictor: Lictor, cgroup: Callable[[str], str]
) -> None:
    made = lictor.policy("select: [{cgroup: /sel-a/**}]\negress: none")
    cgroup("/sel-a/x")
    with subprocess.Popen(
        ["bash", "-c", TWO_ATTEMPTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        (ROOT / "sel-a/x/cgroup.procs").write_text(str(shell.pid))
        shell.stdin.write("go\n")
        shell.stdin.flush()
        assert "Operation not permitted" in shell.stdout.readline() + shell.stdout.readline()
        lictor.remove(made)
        shell.stdin.write("go\n")
        shell.stdin.flush()
        assert "refused" in shell.stdout.read()


def test_run_refuses_what_it_cannot_place(lictor: Lictor) -> None:
    del lictor
    unknown = run_lictor("run", "--policy", "no-such-policy", "--", "true")
    assert unknown.returncode == 125
    assert "policy no-such-policy: is not in force" in unknown.stderr
    grant = run_lictor("run", "--policy", "observe", "--grant", "x", "--", "true")
    assert grant.returncode == 125
    assert "policy observe: no grant x" in grant.stderr
