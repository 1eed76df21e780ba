# SPDX-License-Identifier: Apache-2.0
"""Tool calls: begin and end, as announced on the calls socket.

What is announced from inside a workload can be forged, so it can only narrow: the processes
named lose their grants; the workload comes from the sender's tag, never from the message; a
process that descends from a tool call may announce none.

Bindings: `thread` (mode A) marks the children that one thread of the sender will start;
`target` (mode B) marks a running process, a shell or the sender's own child.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from controlplane.contract.wire import RequestError
from enforcer import abi
from enforcer.callbook import Call, CallBook
from enforcer.maps import Maps
from enforcer.peers import Peer, host_process, host_thread, start_time, threads_of
from enforcer.tasks import TaggedTask, Tasks

LIMITS = {"id": 256, "episode": 256, "tool": 256}
MAXIMUM_ARGUMENTS = 64 << 10
LARGEST_STEP = (1 << 63) - 1
LARGEST_ID = (1 << 31) - 1


@dataclass(frozen=True)
class CallRequest:
    """The checked fields of a begin."""

    id: str
    episode: str | None
    step: int | None
    tool: str | None
    arguments: Any
    thread: int | None
    target: int | None
    hold: bool = False


def parse_begin(message: dict[str, Any]) -> CallRequest:
    """Check a begin. RequestError names the field."""
    texts = {name: _text(message, name, required=name == "id") for name in LIMITS}
    step = message.get("step")
    if step is not None and not _number(step, 0, LARGEST_STEP):
        raise RequestError("invalid", f"begin: step: {step!r} is not a number from 0 on")
    numbers: dict[str, int | None] = {}
    for name in ("thread", "target"):
        value = message.get(name)
        if value is not None and not _number(value, 1, LARGEST_ID):
            raise RequestError("invalid", f"begin: {name}: {value!r} is not a thread or process id")
        numbers[name] = value
    if (numbers["thread"] is None) == (numbers["target"] is None):
        raise RequestError("invalid", "begin: name one of thread and target")
    arguments = message.get("arguments")
    try:
        size = len(json.dumps(arguments))
    except (TypeError, ValueError, RecursionError):
        raise RequestError("invalid", "begin: arguments: hold what JSON cannot") from None
    if size > MAXIMUM_ARGUMENTS:
        raise RequestError("invalid", f"begin: arguments: over {MAXIMUM_ARGUMENTS} bytes")
    identifier = texts["id"]
    assert identifier is not None
    return CallRequest(
        identifier, texts["episode"], step, texts["tool"], arguments,
        numbers["thread"], numbers["target"], message.get("hold") is True,
    )  # fmt: skip


def _number(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _text(message: dict[str, Any], name: str, *, required: bool) -> str | None:
    value = message.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value:
        raise RequestError("invalid", f"begin: {name}: is missing or no text")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise RequestError("invalid", f"begin: {name}: is not valid Unicode") from None
    if size > LIMITS[name]:
        raise RequestError("invalid", f"begin: {name}: {size} bytes, at most {LIMITS[name]}")
    return value


class ToolCalls:
    """Binds calls to tasks and lets go of them."""

    def __init__(self, maps: Maps, tasks: Tasks, book: CallBook) -> None:
        self._maps = maps
        self._tasks = tasks
        self._book = book

    def begin(self, peer: Peer, request: CallRequest) -> Call:
        """Bind a call. RequestError when the sender may not, or names nothing of its own."""
        if request.thread is not None:
            return self._begin_thread(peer, request, request.thread)
        assert request.target is not None
        return self._begin_target(peer, request, request.target)

    def end(self, peer: Peer, number: int, ending: str = "ended") -> Call:
        """Let go of a call. Ending it twice is harmless."""
        call = self._book.get(number)
        if call is None:
            raise RequestError("unknown_call", f"end: no call {number}")
        if not self._may_end(peer, call):
            raise RequestError("not_yours", f"end: call {call.id} is not the sender's to end")
        self._let_go(call, ending)
        return call

    def _let_go(self, call: Call, ending: str) -> None:
        number = call.number
        kind, _, text = call.binding.partition(":")
        bound = int(text)
        if kind == "thread":
            held = self._maps.thread_calls.get(bound)
            if held is not None and held.call == number:
                self._maps.thread_calls.delete(bound)
        else:
            for tid in threads_of(bound):
                self._tasks.end_call(tid, number)
        self._book.close_call(number, ending)

    def end_abandoned(self) -> int:
        """End held calls whose announcing process is gone; returns how many.

        The connection's end says so at once; this finds those that went while no agent ran.
        """
        gone = [
            number for number, pid, since in self._book.held_calls() if start_time(pid) != since
        ]
        for number in gone:
            call = self._book.get(number)
            if call is not None:
                self._let_go(call, "disconnected")
        return len(gone)

    def forget_dead_threads(self) -> int:
        """End calls whose thread is gone without having said so; returns how many."""
        ended = 0
        for tid in list(self._maps.thread_calls.keys()):
            held = self._maps.thread_calls.get(tid)
            task = next(iter(self._tasks.list(tid)), None)
            if held is None or (task is not None and task.start == held.start):
                continue
            self._maps.thread_calls.delete(tid)
            self._book.close_call(held.call, "thread gone")
            ended += 1
        return ended

    def _begin_thread(self, peer: Peer, request: CallRequest, number: int) -> Call:
        sender = self._sender(peer)
        if sender is None:
            raise RequestError(
                "no_workload",
                "begin: the sender is in no workload: nothing that it starts would be tagged;"
                " announce from inside, or name a target",
            )
        tid = host_thread(peer, number)
        if tid is None:
            raise RequestError("not_yours", f"begin: thread {number} is not one of the sender's")
        task = next(iter(self._tasks.resolve(tid)), None)
        if task is None:
            raise RequestError("gone", f"begin: thread {number} is gone")
        call = self._record(peer, request, sender.workload, f"thread:{tid}")
        try:
            entry = abi.ThreadCall(call=call.number, start=task.start)
            self._maps.thread_calls.put(tid, entry)
        except OSError as error:
            self._book.close_call(call.number, "failed")
            raise RequestError("full", f"begin: {error}") from None
        return call

    def _begin_target(self, peer: Peer, request: CallRequest, number: int) -> Call:
        sender = self._sender(peer)
        pid = host_process(peer, number)
        tagged = self._tasks.resolve(pid) if pid is not None else []
        if pid is None or not tagged:
            raise RequestError("no_workload", f"begin: process {number} is in no workload")
        target = tagged[0]
        if sender is not None and target.workload != sender.workload:
            raise RequestError("not_yours", f"begin: process {number} is in another workload")
        call = self._record(peer, request, target.workload, f"target:{pid}")
        if not self._tag_threads(pid, call.number):
            self._book.close_call(call.number, "failed")
            raise RequestError("gone", f"begin: process {number} is gone")
        return call

    def _tag_threads(self, pid: int, number: int) -> bool:
        """Tag every thread; one started meanwhile inherits, so two equal rounds are enough."""
        tagged: set[int] = set()
        while fresh := set(threads_of(pid)) - tagged:
            for tid in fresh:
                self._tasks.begin_call(tid, number)
            tagged |= fresh
        return bool(tagged)

    def _sender(self, peer: Peer) -> TaggedTask | None:
        """The sender's own tag; None for root outside every workload, who may name any target."""
        tagged = self._tasks.resolve(peer.pid)
        if not tagged:
            if peer.uid != 0:
                raise RequestError(
                    "not_allowed", "begin: outside workloads only root may announce tool calls"
                )
            return None
        sender = tagged[0]
        if sender.call:
            raise RequestError(
                "inside_call", "begin: a process of a tool call cannot announce tool calls"
            )
        return sender

    def _may_end(self, peer: Peer, call: Call) -> bool:
        """Who announced it, root outside every workload, and whoever could have announced it."""
        if peer.pid == call.announced_by:
            return True
        tagged = self._tasks.resolve(peer.pid)
        if not tagged:
            return peer.uid == 0
        return tagged[0].workload == call.workload and not tagged[0].call

    def _record(self, peer: Peer, request: CallRequest, workload: int, binding: str) -> Call:
        bound = self._book.bound_episode(workload)
        if bound and request.episode and bound != request.episode:
            raise RequestError(
                "episode_mismatch",
                f"begin: episode: {request.episode!r}, but the workload runs {bound!r}",
            )
        return self._book.open_call(
            call_id=request.id,
            episode=bound or request.episode,
            step=request.step,
            tool=request.tool,
            arguments=request.arguments,
            workload=workload,
            binding=binding,
            announced_by=peer.pid,
            held_since=start_time(peer.pid) if request.hold else None,
        )
