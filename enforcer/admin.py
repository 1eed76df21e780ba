# SPDX-License-Identifier: Apache-2.0
"""What root may ask of the agent on admin.sock: policies, runs, status."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loguru import logger

from controlplane.contract.policy import PolicyError, parse_policy
from controlplane.contract.wire import RequestError
from enforcer import VERSION, pins, runs
from enforcer.calls import parse_begin
from enforcer.names import boot_identity
from enforcer.peers import Peer
from enforcer.server import Connection, Handler
from enforcer.store import PolicyStore, StoredPolicy

if TYPE_CHECKING:
    from enforcer.agent import Agent


DRAIN_SECONDS = 5.0
LARGEST_REVISION = (1 << 31) - 1
"""Less than the kernel's field holds, so that every local change after it has room."""


class AdminOperations:
    """One method per operation."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def table(self) -> Mapping[str, Handler]:
        """Operation name -> handler; none of them for a process of a workload."""
        table = self._operations()
        return {name: self._from_outside(handler) for name, handler in table.items()}

    def _from_outside(self, handler: Handler) -> Handler:
        async def checked(connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
            if not self._agent.is_outside(connection.peer.pid, connection.since):
                logger.warning(
                    "admin: process {} refused: of a workload, or gone", connection.peer.pid
                )
                raise RequestError("not_allowed", "a process of a workload may not administer it")
            return await handler(connection, message)

        return checked

    def _operations(self) -> dict[str, Handler]:
        return {
            "status": self._status,
            "drain": self._drain,
            "policy.apply": self._policy_apply,
            "policy.remove": self._policy_remove,
            "policy.list": self._policy_list,
            "policy.show": self._policy_show,
            "run.prepare": self._run_prepare,
            "run.begin": self._run_begin,
            "run.finish": self._run_finish,
            **self._agent.exempting.operations(),
        }

    async def _status(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        agent = self._agent
        return {
            "node": agent.settings.node,
            "boot": boot_identity()[0],
            "release": VERSION,
            "pid": os.getpid(),
            "program_set": pins.owner(agent.maps),
            **agent.condition(),
            "policies": agent.store.names(),
            "revisions": agent.store.newest(),
            "workloads": runs.workload_rows(
                agent.enforcement, agent.store, agent.exemptions.active()
            ),
            "spool_dropped": agent.spool.dropped(),
            "undecodable": agent.reader.undecodable,
            "unwritten": agent.reader.unwritten,
        }

    async def _drain(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        """Read the rings empty, so that what happened before the request is on disk.

        Not for longer than DRAIN_SECONDS: a flood may bring more than can be read.
        """
        deadline = time.monotonic() + DRAIN_SECONDS
        count = 0
        while read := self._agent.drain_rings():
            count += read
            if time.monotonic() > deadline:
                break
        return {"events": count}

    async def _policy_apply(
        self, connection: Connection, message: dict[str, Any]
    ) -> dict[str, Any]:
        source = _text(message, "source")
        text = message.get("text")
        if not isinstance(text, (str, bytes)):
            raise RequestError("invalid", "policy.apply: text: is missing")
        try:
            policy = parse_policy(text, source)
        except PolicyError as error:
            raise RequestError("invalid_policy", str(error)) from None
        agent = self._agent
        applied = agent.enforcement.apply(policy, _revision(message))
        agent.names.forget_policies()
        logger.info("policy {} revision {} in force", policy.name, applied.stored.revision)
        return {
            "policy": _row(applied.stored),
            "workloads": applied.workloads,
            "warnings": list(applied.warnings),
        }

    async def _policy_remove(
        self, connection: Connection, message: dict[str, Any]
    ) -> dict[str, Any]:
        name = _text(message, "name")
        self._agent.enforcement.remove(name)
        self._agent.names.forget_policies()
        logger.warning("policy {} removed", name)
        return {"name": name}

    async def _policy_list(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        store = self._agent.store
        return {"policies": [_row(p) for p in map(store.active, store.names()) if p is not None]}

    async def _policy_show(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        """The policy in force; with the field `revision` that one, be it in force or not."""
        name, store = _text(message, "name"), self._agent.store
        number = _revision(message)
        if number is None:
            stored = store.active(name)
            if stored is None:
                raise RequestError("unknown_policy", f"policy {name}: is not in force")
        else:
            stored = _kept(store, name, number)
        return {"policy": {**_row(stored), "document": stored.policy.to_document()}}

    async def _run_prepare(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        grants = message.get("grants") or []
        if not isinstance(grants, list) or not all(isinstance(g, str) for g in grants):
            raise RequestError("invalid", "run.prepare: grants: is not a list of names")
        agent = self._agent
        path, workload = agent.runs.prepare(_text(message, "policy"), grants)
        connection.closing.append(lambda: agent.runs.release(path))
        agent.names.learn_workload(workload, path)
        if message.get("episode") is not None:
            agent.book.bind_episode(workload, _text(message, "episode"))
        return {"cgroup": path, "workload": workload}

    async def _run_begin(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        # The starter is root outside every workload; the target is its child in the new cgroup.
        call = self._agent.calls.begin(Peer(connection.peer.pid, 0), parse_begin(message))
        return {"call": call.number}

    async def _run_finish(self, connection: Connection, message: dict[str, Any]) -> dict[str, Any]:
        number = message.get("call")
        if isinstance(number, int):
            self._agent.calls.end(connection.peer, number)
        path = _text(message, "cgroup")
        self._agent.runs.release(path)
        return {"removed": self._agent.runs.finish(path)}


def _text(message: dict[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not value:
        raise RequestError("invalid", f"{message.get('operation')}: {name}: is missing or no text")
    return value


def _revision(message: dict[str, Any]) -> int | None:
    """A revision's number; None for the one in force, or for a change made on this node."""
    value = message.get("revision")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST_REVISION:
        raise RequestError(
            "invalid",
            f"{message.get('operation')}: revision: {value!r} is not 1 to {LARGEST_REVISION}",
        )
    return value


def _kept(store: PolicyStore, name: str, number: int) -> StoredPolicy:
    """A revision that was in force at some time. RequestError where the disk has none."""
    # The name becomes a path: only those that the store gave a slot to are looked for.
    if name in store.slots().values():
        with contextlib.suppress(FileNotFoundError):
            return store.revision(name, number)
    raise RequestError("unknown_policy", f"policy {name}: this node has no revision {number}")


def _row(stored: StoredPolicy) -> dict[str, Any]:
    return {
        "name": stored.name,
        "revision": stored.revision,
        "mode": stored.policy.spec.mode,
        "select": [selector.cgroup for selector in stored.policy.spec.select],
        "applied": stored.time,
        "digest": stored.digest,
        "description": stored.policy.metadata.description,
    }
