# SPDX-License-Identifier: Apache-2.0
"""Who may announce a tool call, of what, and what becomes of the processes that are named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.wire import RequestError
from enforcer import abi, calls
from enforcer.abi import TagFlag
from enforcer.callbook import CallBook
from enforcer.calls import CallRequest, ToolCalls, parse_begin
from enforcer.peers import Peer
from tests.unit.enforcer.tables import MemoryMaps, MemoryTasks, tagged

EXECUTOR, SHELL, STRANGER, OUTSIDE, OTHER = 100, 200, 300, 400, 500


class Node:
    """An executor and a shell in workload 100, a stranger in 900, and a process outside."""

    def __init__(self, folder: Path) -> None:
        self.threads = {EXECUTOR: [100, 101], SHELL: [200, 201, 202], STRANGER: [300],
                        OUTSIDE: [400], OTHER: [500]}  # fmt: skip
        self.started = {pid: f"start-{pid}" for pid in self.threads}
        self.tasks = MemoryTasks(
            *(tagged(tid, pid=pid, grants=3) for pid in (EXECUTOR, SHELL, OTHER)
              for tid in self.threads[pid]),
            tagged(STRANGER, workload=900, cgroup=900),
        )  # fmt: skip
        maps: Any = MemoryMaps()
        self.maps = maps
        self.book = CallBook(folder / "calls.db")
        tasks: Any = self.tasks
        self.calls = ToolCalls(self.maps, tasks, self.book)

    def host_thread(self, peer: Peer, number: int) -> int | None:
        return number if number in self.threads.get(peer.pid, []) else None

    def host_process(self, peer: Peer, number: int) -> int | None:
        return number if number in self.threads else None

    def begin(self, pid: int, *, uid: int = 0, **fields: Any) -> int:
        message = {"id": "call-1", **fields}
        return self.calls.begin(Peer(pid, uid), parse_begin(message)).number

    def tag(self, tid: int) -> tuple[int, int, TagFlag]:
        task = self.tasks.by_tid[tid]
        return task.call, task.grants, task.flags


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    made = Node(tmp_path)
    monkeypatch.setattr(calls, "host_thread", made.host_thread)
    monkeypatch.setattr(calls, "host_process", made.host_process)
    monkeypatch.setattr(calls, "threads_of", lambda pid: made.threads.get(pid, []))
    monkeypatch.setattr(calls, "start_time", made.started.get)
    yield made
    made.book.close()


# --- the message ------------------------------------------------------------


def test_a_begin_is_its_fields() -> None:
    message = {"id": "c", "episode": "e", "step": 0, "tool": "bash", "arguments": ["ls"],
               "target": 7, "hold": True}  # fmt: skip
    assert parse_begin(message) == CallRequest("c", "e", 0, "bash", ["ls"], None, 7, hold=True)
    alone = CallRequest("c", None, None, None, None, thread=5, target=None)
    assert parse_begin({"id": "c", "thread": 5, "hold": "yes"}) == alone


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"id": None}, "begin: id: is missing or no text"),
        ({"id": ""}, "begin: id: is missing or no text"),
        ({"id": 7}, "begin: id: is missing or no text"),
        ({"id": b"call"}, "begin: id: is missing or no text"),
        ({"id": "x" * 257}, "begin: id: 257 bytes, at most 256"),
        ({"id": "ä" * 129}, "begin: id: 258 bytes, at most 256"),
        ({"id": "\udcff"}, "begin: id: is not valid Unicode"),
        ({"episode": ""}, "begin: episode: is missing or no text"),
        ({"episode": ["e"]}, "begin: episode: is missing or no text"),
        ({"episode": "e" * 300}, "begin: episode: 300 bytes, at most 256"),
        ({"tool": 1}, "begin: tool: is missing or no text"),
        ({"step": -1}, "begin: step: -1 is not a number from 0 on"),
        ({"step": True}, "begin: step: True is not a number from 0 on"),
        ({"step": "1"}, "begin: step: '1' is not a number from 0 on"),
        ({"step": 1.5}, "begin: step: 1.5 is not a number from 0 on"),
        ({"step": 1 << 63}, "begin: step: 9223372036854775808 is not a number from 0 on"),
        ({"target": 0}, "begin: target: 0 is not a thread or process id"),
        ({"target": -1}, "begin: target: -1 is not a thread or process id"),
        ({"target": True}, "begin: target: True is not a thread or process id"),
        ({"target": "7"}, "begin: target: '7' is not a thread or process id"),
        ({"target": 1 << 31}, "begin: target: 2147483648 is not a thread or process id"),
        ({"target": None, "thread": 1.0}, "begin: thread: 1.0 is not a thread or process id"),
        ({"target": None}, "begin: name one of thread and target"),
        ({"thread": 5}, "begin: name one of thread and target"),
        ({"arguments": "x" * 65537}, "begin: arguments: over 65536 bytes"),
        ({"arguments": b"bytes"}, "begin: arguments: hold what JSON cannot"),
        ({"arguments": {"a": [b"\xff"]}}, "begin: arguments: hold what JSON cannot"),
        ({"arguments": _nested(990)}, "begin: arguments: hold what JSON cannot"),
    ],
)  # fmt: skip
def test_a_fault_names_its_field(fields: dict[str, Any], cause: str) -> None:
    with pytest.raises(RequestError, match=cause) as caught:
        parse_begin({"id": "c", "target": 7, **fields})
    assert caught.value.code == "invalid"


# --- who may ----------------------------------------------------------------


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("fields", [{"target": SHELL}, {"thread": 101}])
def test_a_process_of_the_workload_may_announce(
    uid: int, fields: dict[str, Any], node: Node
) -> None:
    number = node.begin(EXECUTOR, uid=uid, **fields)
    call = node.book.get(number)
    assert call is not None
    assert (call.workload, call.announced_by) == (100, EXECUTOR)


def test_root_outside_may_name_a_target_in_any_workload(node: Node) -> None:
    for target, workload in ((SHELL, 100), (STRANGER, 900)):
        call = node.book.get(node.begin(OUTSIDE, target=target))
        assert call is not None
        assert call.workload == workload


@pytest.mark.parametrize(
    ("pid", "uid", "fields", "code"),
    [
        (OUTSIDE, 1000, {"target": SHELL}, "not_allowed"),
        (OUTSIDE, 1000, {"thread": OUTSIDE}, "not_allowed"),
        (OUTSIDE, 0, {"thread": OUTSIDE}, "no_workload"),
        (STRANGER, 0, {"target": SHELL}, "not_yours"),
        (EXECUTOR, 0, {"target": STRANGER}, "not_yours"),
        (EXECUTOR, 0, {"target": OUTSIDE}, "no_workload"),
        (EXECUTOR, 0, {"target": 99_999}, "no_workload"),
        (EXECUTOR, 0, {"thread": SHELL}, "not_yours"),
        (EXECUTOR, 0, {"thread": 99_999}, "not_yours"),
    ],
)
def test_whoever_may_not_is_refused_and_changes_nothing(
    pid: int, uid: int, fields: dict[str, Any], code: str, node: Node
) -> None:
    before = dict(node.tasks.by_tid)
    with pytest.raises(RequestError) as caught:
        node.begin(pid, uid=uid, **fields)
    assert caught.value.code == code
    assert node.tasks.by_tid == before
    assert len(node.maps.thread_calls) == 0
    assert node.book.get(1) is None


@pytest.mark.parametrize("fields", [{"target": SHELL}, {"thread": 101}, {"target": EXECUTOR}])
@pytest.mark.parametrize("flags", [TagFlag(0), TagFlag.AFTER])
def test_a_process_of_a_tool_call_announces_none(
    flags: TagFlag, fields: dict[str, Any], node: Node
) -> None:
    node.tasks.by_tid[EXECUTOR] = tagged(EXECUTOR, call=55, flags=flags)
    with pytest.raises(RequestError, match="a process of a tool call cannot") as caught:
        node.begin(EXECUTOR, **fields)
    assert caught.value.code == "inside_call"


def test_an_episode_that_the_workload_does_not_run_is_refused(node: Node) -> None:
    node.book.bind_episode(100, "episode-1")
    with pytest.raises(RequestError, match="'episode-2', but the workload runs 'episode-1'"):
        node.begin(EXECUTOR, target=SHELL, episode="episode-2")
    assert node.tag(SHELL)[0] == 0


@pytest.mark.parametrize("announced", [None, "episode-1"])
def test_the_workloads_episode_is_the_calls(announced: str | None, node: Node) -> None:
    node.book.bind_episode(100, "episode-1")
    call = node.book.get(node.begin(EXECUTOR, target=SHELL, episode=announced))
    assert call is not None
    assert call.episode == "episode-1"


# --- what it does -----------------------------------------------------------


def test_a_target_gets_the_call_in_every_thread_and_loses_its_grants(node: Node) -> None:
    number = node.begin(EXECUTOR, target=SHELL)
    assert {node.tag(tid) for tid in node.threads[SHELL]} == {(number, 1, TagFlag(0))}
    assert node.tag(EXECUTOR) == (0, 3, TagFlag(0))


def test_a_thread_started_meanwhile_is_tagged_too(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = iter([[200], [200, 201], [200, 201]])
    monkeypatch.setattr(calls, "threads_of", lambda _: next(rounds))
    number = node.begin(EXECUTOR, target=SHELL)
    assert node.tag(201)[0] == number


def test_a_threads_call_is_for_its_children(node: Node) -> None:
    number = node.begin(EXECUTOR, thread=101)
    held = node.maps.thread_calls.get(101)
    assert (held.call, held.start) == (number, node.tasks.by_tid[101].start)
    assert node.tag(101) == (0, 3, TagFlag(0))


def test_a_target_that_dies_meanwhile_is_said_to_be_gone(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "threads_of", lambda _: [])
    with pytest.raises(RequestError, match="process 200 is gone") as caught:
        node.begin(EXECUTOR, target=SHELL)
    assert caught.value.code == "gone"
    call = node.book.get(1)
    assert call is not None
    assert call.ended is not None


def test_a_full_table_of_threads_is_said_so_and_the_call_is_no_more(node: Node) -> None:
    node.maps.thread_calls.room = 0
    with pytest.raises(RequestError, match="map thread_calls") as caught:
        node.begin(EXECUTOR, thread=101)
    assert caught.value.code == "full"
    call = node.book.get(1)
    assert call is not None
    assert call.ended is not None


# --- the end ----------------------------------------------------------------


def test_an_ended_target_goes_on_as_after_the_call(node: Node) -> None:
    number = node.begin(EXECUTOR, target=SHELL)
    node.calls.end(Peer(EXECUTOR, 0), number)
    assert {node.tag(tid) for tid in node.threads[SHELL]} == {(number, 1, TagFlag.AFTER)}


def test_a_target_that_has_a_newer_call_keeps_it(node: Node) -> None:
    first = node.begin(EXECUTOR, target=SHELL)
    second = node.begin(EXECUTOR, target=SHELL)
    node.calls.end(Peer(EXECUTOR, 0), first)
    assert node.tag(SHELL) == (second, 1, TagFlag(0))


def test_a_threads_children_no_longer_belong_to_an_ended_call(node: Node) -> None:
    number = node.begin(EXECUTOR, thread=101)
    node.calls.end(Peer(EXECUTOR, 0), number)
    assert node.maps.thread_calls.get(101) is None


def test_the_end_of_an_older_call_leaves_the_threads_newer_one(node: Node) -> None:
    first = node.begin(EXECUTOR, thread=101)
    second = node.begin(EXECUTOR, thread=101)
    node.calls.end(Peer(EXECUTOR, 0), first)
    assert node.maps.thread_calls.get(101).call == second


def test_ending_twice_is_harmless(node: Node) -> None:
    number = node.begin(EXECUTOR, target=SHELL)
    ended = [node.calls.end(Peer(EXECUTOR, 0), number).number for _ in range(2)]
    assert ended == [number, number]


@pytest.mark.parametrize(("pid", "uid"), [(SHELL, 0), (STRANGER, 0), (OUTSIDE, 1000)])
def test_neither_the_call_itself_nor_a_stranger_can_end_it(pid: int, uid: int, node: Node) -> None:
    number = node.begin(EXECUTOR, target=SHELL)
    with pytest.raises(RequestError, match="call call-1 is not the sender's to end") as caught:
        node.calls.end(Peer(pid, uid), number)
    assert caught.value.code == "not_yours"
    assert node.tag(SHELL) == (number, 1, TagFlag(0))


@pytest.mark.parametrize(("pid", "uid"), [(OUTSIDE, 0), (OTHER, 1000), (EXECUTOR, 1000)])
def test_root_outside_and_whoever_might_announce_can_end_a_call(
    pid: int, uid: int, node: Node
) -> None:
    number = node.begin(EXECUTOR, target=SHELL)
    node.calls.end(Peer(pid, uid), number)
    assert node.tag(SHELL)[2] == TagFlag.AFTER


@pytest.mark.parametrize("number", [0, 77, -1, 1 << 64])
def test_a_call_that_is_none_cannot_be_ended(number: int, node: Node) -> None:
    with pytest.raises(RequestError, match=f"end: no call {number}") as caught:
        node.calls.end(Peer(EXECUTOR, 0), number)
    assert caught.value.code == "unknown_call"


def test_a_held_call_ends_with_its_announcer_even_while_no_agent_ran(node: Node) -> None:
    held, kept = node.begin(EXECUTOR, target=SHELL, hold=True), node.begin(EXECUTOR, target=OTHER)
    assert node.calls.end_abandoned() == 0
    node.started[EXECUTOR] = "start-of-another"
    assert node.calls.end_abandoned() == 1
    assert node.calls.end_abandoned() == 0
    assert (node.tag(SHELL), node.tag(OTHER)) == ((held, 1, TagFlag.AFTER), (kept, 1, TagFlag(0)))


def test_calls_of_dead_threads_are_ended(node: Node) -> None:
    kept, dead = node.begin(EXECUTOR, thread=100), node.begin(EXECUTOR, thread=101)
    del node.tasks.by_tid[101]
    node.maps.thread_calls.put(555, abi.ThreadCall(call=99, start=1))
    assert node.calls.forget_dead_threads() == 2
    assert list(node.maps.thread_calls.keys()) == [100]
    ended = [call.ended is not None for n in (kept, dead) if (call := node.book.get(n))]
    assert ended == [False, True]


def test_a_threads_number_that_was_given_anew_is_another_thread(node: Node) -> None:
    node.begin(EXECUTOR, thread=101)
    node.tasks.by_tid[101] = tagged(101, start=999_999)
    assert node.calls.forget_dead_threads() == 1
