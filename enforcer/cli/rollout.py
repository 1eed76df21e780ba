# SPDX-License-Identifier: Apache-2.0
"""A policy on its way to every node: sent, and told who has it in force and who has not."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from enforcer.cli.api import ask
from enforcer.cli.output import printable

if TYPE_CHECKING:
    from controlplane.contract.records import PolicyAccepted

WAIT = 30
"""Seconds that live nodes are given to have a revision in force before we say who has not."""

NAMES_SHOWN = 10


def put(
    arguments: argparse.Namespace, name: str, text: str | bytes, expected: int | None = None
) -> PolicyAccepted:
    """Make `text` the policy's newest revision, if `expected` (or whichever) is the newest yet."""
    return ask(
        arguments, lambda client: client.put_policy(name, text, wait=WAIT, expected=expected)
    )


def is_late(accepted: PolicyAccepted) -> bool:
    """Whether a live node has it not in force."""
    return bool(accepted.nodes.pending or accepted.nodes.failed)


def rollout_lines(accepted: PolicyAccepted, done: str) -> Iterator[str]:
    """What a person reads of it; done: what the nodes did, such as `in force`."""
    nodes = accepted.nodes
    subject = f"policy {accepted.name}: revision {accepted.revision}"
    if nodes.acked:
        yield f"{subject} {done} on {_names(nodes.acked)}"
    elif not is_late(accepted):
        yield f"{subject} kept; no node is live: each takes it over when it reports"
    else:
        yield f"{subject} kept"
    if nodes.pending:
        yield f"  PENDING on {_names(nodes.pending)}: no answer within {WAIT} s"
    for failure in nodes.failed:
        yield f"  FAILED on {printable(failure.node)}: {printable(failure.message)}"


def _names(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:NAMES_SHOWN])
    further = len(names) - NAMES_SHOWN
    return f"{shown} and {further} more" if further > 0 else shown
