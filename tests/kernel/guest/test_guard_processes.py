# SPDX-License-Identifier: Apache-2.0
"""Guards `trace` and `signal`: processes beyond the workload's border, and a call's own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from enforcer import cgroups
from tests.kernel.guest.actor import Actor, actors
from tests.kernel.guest.child import Outcome
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.world import Lictor, Workload, denied

POLICY = "grants: {trainer: {devices: {gpus: all}}}"
DONE = Outcome("")
TRACE = ("attach", "vm-read", "vm-write", "memory", "environ", "descriptor-link", "take-descriptor")


def trace(actor: Actor, how: str, target: Actor) -> Outcome:
    """One way to get at another process."""
    address = target.act("where").value
    match how:
        case "memory":
            return actor.act("read", f"/proc/{target.pid}/mem", address)
        case "environ":
            return actor.act("read", f"/proc/{target.pid}/environ")
        case "descriptor-link":
            return actor.act("link", f"/proc/{target.pid}/fd/0")
        case "take-descriptor":
            return actor.act("take-descriptor", target.pid, 0)
        case "vm-write":
            return actor.act("vm-write", target.pid, address, "written!")
    return actor.act(how, target.pid, address)


@dataclass
class Scene:
    """A trainer that holds a grant, a process in no call without it, two tool calls, and others."""

    workload: Workload
    trainer: Actor
    one: Actor
    two: Actor
    elsewhere: Actor
    outside: Actor


@pytest.fixture(scope="module")
def scene(lictor: Lictor) -> Iterator[Scene]:
    with (
        lictor.confined(POLICY, ["trainer"]) as workload,
        lictor.confined(POLICY) as other,
        actors(workload, workload, workload, other, None) as made,
    ):
        made[1].begin_call("one")
        made[2].begin_call("two")
        yield Scene(workload, *made)


@pytest.mark.parametrize("how", TRACE)
def test_a_process_beyond_the_border_cannot_be_traced(how: str, scene: Scene) -> None:
    with Actor() as target:
        before = trace(scene.outside, how, target)
        assert before.errno is None
        if how == "vm-write":
            assert target.act("secret") == Outcome("written!")
    for actor in (scene.trainer, scene.one):
        for target in (scene.outside, scene.elsewhere):
            scene.workload.mark()
            outcome = trace(actor, how, target)
            assert outcome.errno in (1, 13), (how, outcome)
            assert target.act("secret") == Outcome("a-secret")
            if how == "descriptor-link":
                # Whoever was kept from reading `environ` made the one event for all such files.
                assert scene.workload.fresh_events() == []
                continue
            (event,) = scene.workload.fresh_events()
            operation = "read" if how == "environ" else "attach"
            assert event["object"] == {
                "guard": "trace", "operation": operation, "detail": None, "target": target.pid,
            }  # fmt: skip
            assert (event["kind"], event["decision"], event["reason"]) == (
                "guard", "denied", "guard",
            )  # fmt: skip


@pytest.mark.parametrize("how", TRACE)
def test_a_tool_call_cannot_trace_the_trainer(how: str, scene: Scene) -> None:
    assert trace(scene.one, how, scene.trainer).errno in (1, 13)
    assert scene.trainer.act("secret") == Outcome("a-secret")
    # What it holds is what it may trace: the trainer sees its own calls.
    assert trace(scene.trainer, how, scene.one).errno is None
    if how == "vm-write":
        address = scene.one.act("where").value
        assert scene.trainer.act("vm-write", scene.one.pid, address, "a-secret") == DONE


@pytest.mark.parametrize("how", TRACE)
def test_a_call_reads_of_another_call_and_does_not_act_in_its_name(how: str, scene: Scene) -> None:
    outcome = trace(scene.two, how, scene.one)
    if how in ("environ", "descriptor-link"):
        assert outcome.errno is None
    else:
        assert outcome.errno in (1, 13)
        assert scene.one.act("secret") == Outcome("a-secret")


@pytest.mark.parametrize("who", ["trainer", "one"])
def test_a_debugger_of_ones_own_children_works(who: str, scene: Scene) -> None:
    actor: Actor = getattr(scene, who)
    scene.workload.mark()
    assert actor.act("trace-child") == Outcome("0")
    child = actor.number("child")
    assert actor.act("attach", child) == DONE
    assert actor.act("read", f"/proc/{child}/environ").errno is None
    assert actor.act("signal", child, signal.SIGTERM) == DONE
    assert actor.act("reap", child) == Outcome(str(int(signal.SIGTERM)))
    assert scene.workload.fresh_events() == []


def test_gdb_and_strace_work_and_ps_shows_everyone(scene: Scene, confine: Confine) -> None:
    workload = confine("")
    for words in (["strace", "-f", "-o", "/dev/null", "sh", "-c", "true; true"],
                  ["gdb", "-q", "-batch", "-ex", "run", "/bin/true"]):  # fmt: skip
        outcome = workload.run(_output, words)
        assert outcome.value[0] == 0, outcome.value[1]
    shown = workload.run(_output, ["ps", "-eo", "pid,args"]).value
    assert shown[0] == 0
    assert f"{scene.outside.pid} " in shown[1]
    # ps asks for every process's environment, and goes on without.
    told = [event for event in workload.events() if event["kind"] == "guard"]
    assert {(e["subject"]["comm"], e["object"]["operation"]) for e in told} <= {("ps", "read")}
    targets = [event["object"]["target"] for event in told]
    assert len(set(targets)) == len(targets)


def _output(words: list[str]) -> list[object]:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return [done.returncode, done.stdout + done.stderr]


def test_signals_stop_at_the_border(scene: Scene) -> None:
    victim = scene.outside.number("child")
    assert scene.outside.act("signal", victim, signal.SIGTERM) == DONE
    assert scene.outside.act("reap", victim) == Outcome(str(int(signal.SIGTERM)))
    for actor in (scene.trainer, scene.one):
        for target in (scene.outside, scene.elsewhere):
            scene.workload.mark()
            assert denied(actor.act("signal", target.pid, signal.SIGKILL))
            assert target.act("secret") == Outcome("a-secret")
            (event,) = scene.workload.fresh_events()
            assert event["object"] == {
                "guard": "signal", "operation": "signal", "detail": "SIGKILL",
                "target": target.pid,
            }  # fmt: skip
            assert actor.act("signal", target.pid, 0) == DONE


def test_a_call_cannot_end_the_trainer_and_may_end_what_calls_left_behind(scene: Scene) -> None:
    assert denied(scene.one.act("signal", scene.trainer.pid, signal.SIGKILL))
    assert scene.trainer.act("secret") == Outcome("a-secret")
    left = scene.two.number("child")
    assert scene.one.act("signal", left, signal.SIGTERM) == DONE
    assert scene.two.act("reap", left) == Outcome(str(int(signal.SIGTERM)))
    own = scene.one.number("child")
    assert scene.trainer.act("signal", own, signal.SIGKILL) == DONE
    assert scene.one.act("reap", own) == Outcome(str(int(signal.SIGKILL)))


@pytest.fixture
def entering(scene: Scene) -> Iterator[int]:
    """A process of outside in the workload's cgroup that has started no program there."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        (cgroups.folder(scene.workload.path) / "cgroup.procs").write_text("0")
        os.write(writing, b"x")
        signal.pause()
    os.read(reading, 1)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_who_enters_is_not_caught_at_the_door(scene: Scene, entering: int) -> None:
    for actor in (scene.trainer, scene.one):
        assert denied(actor.act("attach", entering))
        assert denied(actor.act("signal", entering, signal.SIGKILL))
    assert os.waitpid(entering, os.WNOHANG) == (0, 0)


def test_from_outside_nothing_is_kept(scene: Scene) -> None:
    child = scene.trainer.number("child")
    for how in TRACE:
        assert trace(scene.outside, how, scene.elsewhere).errno is None
    assert scene.outside.act("signal", child, signal.SIGTERM) == DONE
    assert scene.trainer.act("reap", child) == Outcome(str(int(signal.SIGTERM)))


@pytest.mark.parametrize(
    ("spec", "decisions"),
    [("guards: {allow: [trace, signal]}", []), ("mode: audit", ["audited", "audited"])],
)
def test_a_guard_is_opened_by_name_and_only_told_in_audit_mode(
    spec: str, decisions: list[str], confine: Confine
) -> None:
    workload = confine(spec)
    with Actor(workload) as actor, Actor() as target:
        assert trace(actor, "vm-read", target) == Outcome("a-secret")
        assert actor.act("signal", target.pid, signal.SIGTERM) == DONE
        told = [event for event in workload.events() if event["kind"] == "guard"]
        assert [event["decision"] for event in told] == decisions
