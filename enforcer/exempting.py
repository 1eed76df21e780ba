# SPDX-License-Identifier: Apache-2.0
"""What root may ask of exemptions on admin.sock; each begin and end becomes an event.

The event is in the spool before the kernel lets anything pass: nothing is exempt that nobody
will hear of.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger

from controlplane.contract.event import text_field
from controlplane.contract.wire import RequestError
from enforcer import cgroups
from enforcer.abi import Decision
from enforcer.exemptions import (
    LONGEST_REASON,
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    Cause,
    Exemption,
    exemption_row,
)
from enforcer.server import Connection, Handler

if TYPE_CHECKING:
    from enforcer.agent import Agent

NAMED = 5
"""So many workloads are named in a message."""


class Exempting:
    """The operations `exempt`, `exempt.end` and `exempt.list`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def operations(self) -> Mapping[str, Handler]:
        """Operation name -> handler."""
        return {"exempt": self._exempt, "exempt.end": self._end, "exempt.list": self._list}

    def sweep(self) -> None:
        """Tell of those that have ended by themselves."""
        own = {"pid": os.getpid(), "uid": os.geteuid()}
        self._agent.exemptions.sweep(lambda exemption, why: self._tell_end(exemption, why, **own))

    async def _exempt(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        seconds, reason = _seconds(message), _reason(message)
        workload, path, below = self._workload(message)
        peer = connection.peer
        # Events until here stand before the exemption's.
        self._agent.drain_rings()
        exemptions = self._agent.exemptions
        exemption = exemptions.prepare(workload, path, seconds, reason, peer.uid)
        self._tell("exempt", exemption, Decision.AUDITED, pid=peer.pid, uid=peer.uid)
        try:
            exemptions.begin(exemption)
        except OSError:
            self._tell_end(exemption, "lost", pid=peer.pid, uid=peer.uid)
            exemptions.forget(workload)
            raise
        logger.warning(
            "{}: EXEMPT for {:g} s, by uid {} (process {}): {}",
            path, seconds, peer.uid, peer.pid, reason,
        )  # fmt: skip
        return {"exemption": exemption_row(exemption), "warnings": below}

    async def _end(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        workload, path, _ = self._workload(message)
        peer = connection.peer
        exemption = self._agent.exemptions.end(workload)
        if exemption is None:
            raise RequestError("not_exempt", f"workload {path}: is not exempt")
        self._agent.drain_rings()
        self._tell_end(exemption, "ended", pid=peer.pid, uid=peer.uid)
        self._agent.exemptions.forget(workload)
        return {"exemption": exemption_row(exemption)}

    async def _list(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        active = sorted(self._agent.exemptions.active().values(), key=lambda one: one.until)
        return {"exemptions": [exemption_row(exemption) for exemption in active]}

    def _tell_end(self, exemption: Exemption, cause: Cause, *, pid: int, uid: int) -> None:
        self._tell("exempt_end", exemption, Decision.ALLOWED, pid=pid, uid=uid, cause=cause)
        logger.warning("{}: no longer exempt: {}", exemption.path, cause)

    def _tell(
        self,
        kind: str,
        exemption: Exemption,
        decision: Decision,
        *,
        pid: int,
        uid: int,
        **more: str,
    ) -> None:
        about = {"until": exemption.ends(), "reason": exemption.reason, "uid": exemption.uid}
        event = self._agent.decoder.made_here(
            kind, exemption.workload, exemption.policy, decision,
            subject=_subject(pid, uid), object={**about, **more},
        )  # fmt: skip
        self._agent.reader.store([event])

    def _workload(self, message: dict[str, Any]) -> tuple[int, str, list[str]]:
        """(id, path, warnings). RequestError says what is near a path that is no workload."""
        path = message.get("workload")
        if not isinstance(path, str) or not path.startswith("/"):
            operation = message.get("operation")
            raise RequestError("invalid", f"{operation}: workload: {path!r} is not a cgroup path")
        path = path.rstrip("/") or "/"
        scopes = self._agent.maps.scopes
        workloads = {number for number, scope in scopes.items() if scope.workload == number}
        paths = {p: number for p, number in cgroups.walk("/") if number in workloads}
        below = [p for p in paths if p.startswith(path.rstrip("/") + "/")]
        if path in paths:
            text = f"not exempt are the workloads below it: {_named(below)}"
            return paths[path], path, [text] if below else []
        raise RequestError("unknown_workload", f"workload {path}: {_near(path, paths, below)}")


def _near(path: str, paths: Mapping[str, int], below: list[str]) -> str:
    if below:
        return f"is no workload itself; below it are {_named(below)}"
    above = [p for p in paths if path.startswith(p.rstrip("/") + "/")]
    if above and cgroups.exists(path):
        return f"is a part of workload {max(above, key=len)}"
    alike = difflib.get_close_matches(path, paths, n=3)
    if alike:
        return f"there is no such workload; alike are {_named(alike)}"
    return "there is no such workload; lictor workloads lists them"


def _named(paths: list[str]) -> str:
    more = len(paths) - NAMED
    return ", ".join(sorted(paths)[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _seconds(message: dict[str, Any]) -> float:
    value = message.get("seconds")
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0
    if SHORTEST_SECONDS <= number <= LONGEST_SECONDS:
        return number
    raise RequestError(
        "invalid", f"exempt: seconds: {value!r} is not {SHORTEST_SECONDS} to {LONGEST_SECONDS}"
    )


def _reason(message: dict[str, Any]) -> str:
    value = message.get("reason")
    if not isinstance(value, str) or not value.strip():
        raise RequestError("invalid", "exempt: reason: is missing or no text")
    if len(value) > LONGEST_REASON:
        raise RequestError(
            "invalid", f"exempt: reason: {len(value)} characters are more than {LONGEST_REASON}"
        )
    if not value.isprintable():
        raise RequestError("invalid", f"exempt: reason: {value!r} holds control characters")
    return value.strip()


def _subject(pid: int, uid: int) -> dict[str, Any]:
    try:
        comm = Path(f"/proc/{pid}/comm").read_bytes().removesuffix(b"\n")
    except OSError:
        comm = b""
    known = {"pid": pid, "tid": pid, "uid": uid, "parent": None, "start": None}
    return {**known, **text_field("comm", comm)}
