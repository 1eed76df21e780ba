# SPDX-License-Identifier: Apache-2.0
"""Brings a node to the desired policies, and says what came of each.

What the control plane never named stays as the node has it. What it did name is as it says, also
where somebody changed it on the node since.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from loguru import logger

from controlplane.contract.policy import PolicyError, parse_policy, policy_digest
from controlplane.contract.records import Acknowledgement, PolicyRevision
from controlplane.contract.wire import FrameError, RequestError

Ask = Callable[..., Awaitable[dict[str, Any]]]
"""An operation of admin.sock by name, with its fields."""

LONGEST_MESSAGE = 4000
AUTHOR = "control plane"


class Reconciler:
    """ask: the agent."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        # Parsing takes longer than everything else here, and a revision never changes.
        self._digests: dict[tuple[str, int], str | None] = {}

    async def reconcile(self, desired: Sequence[PolicyRevision]) -> list[Acknowledgement]:
        """Do what is lacking; how each revision stands now, for the control plane.

        `acked` is only what the agent itself says is in force, which it has read back from the
        kernel. Raises OSError if the agent is away, RequestError if it refuses to be asked at all.
        """
        named = {(revision.name, revision.revision) for revision in desired}
        self._digests = {key: self._digests[key] for key in self._digests.keys() & named}
        rows = (await self._ask("policy.list"))["policies"]
        held = {row["name"]: (row["revision"], row["digest"]) for row in rows}
        failed: dict[str, str] = {}
        lacking = [revision for revision in desired if not self._is_held(revision, held)]
        # Removals first: they make room for others' selectors.
        lacking.sort(key=lambda revision: not revision.removed)
        progress = True
        # One policy may stand in another's way until that has given up its selectors.
        while lacking and progress:
            progress = False
            left: list[PolicyRevision] = []
            for revision in lacking:
                try:
                    await self._take(revision)
                except (RequestError, FrameError) as error:
                    failed[revision.name] = str(error)[:LONGEST_MESSAGE]
                    left.append(revision)
                else:
                    failed.pop(revision.name, None)
                    progress = True
            lacking = left
        return [
            Acknowledgement(
                policy=revision.name,
                revision=revision.revision,
                state="failed" if revision.name in failed else "acked",
                message=failed.get(revision.name, ""),
            )
            for revision in desired
        ]

    def _is_held(self, revision: PolicyRevision, held: dict[str, tuple[int, str]]) -> bool:
        """held: revision and digest by name, of what is in force on the node."""
        if revision.removed:
            return revision.name not in held
        number, digest = held.get(revision.name, (0, ""))
        # A number may have been used on the node for something else, while nobody could know.
        return number == revision.revision and digest == self._digest(revision)

    def _digest(self, revision: PolicyRevision) -> str | None:
        """None for a text that this node cannot read: the agent will say why."""
        key = (revision.name, revision.revision)
        if key not in self._digests:
            try:
                self._digests[key] = policy_digest(parse_policy(revision.text, AUTHOR))
            except PolicyError:
                self._digests[key] = None
        return self._digests[key]

    async def _take(self, revision: PolicyRevision) -> None:
        name, number = revision.name, revision.revision
        if revision.removed:
            await self._ask("policy.remove", name=name)
            logger.warning("policy {}: removed by revision {}", name, number)
            return
        # Stands in the agent's messages where a file's name does with `lictor policy apply`.
        source = f"{AUTHOR}: policy {name} revision {number}"
        reply = await self._ask("policy.apply", source=source, text=revision.text, revision=number)
        self._digests[name, number] = reply["policy"]["digest"]
        logger.info("policy {}: revision {} in force", name, number)
