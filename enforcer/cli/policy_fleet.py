# SPDX-License-Identifier: Apache-2.0
"""lictor policy through the control plane: for every node, with revisions that stay."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from enforcer.cli.api import ask
from enforcer.cli.exits import EXIT_FAILED, CommandFailed
from enforcer.cli.output import local_time, print_model, print_table, printable
from enforcer.cli.policy_files import read_source

if TYPE_CHECKING:
    from controlplane.client import ApiClient
    from controlplane.contract.records import (
        PolicyAccepted,
        PolicyRevision,
        PolicyStatus,
        Rollout,
    )

WAIT = 30
"""Seconds that live nodes are given to have a revision in force before we say who has not."""

NAMES_SHOWN = 10


def apply(arguments: argparse.Namespace) -> int:
    """Each file in its turn; the first that is refused ends it."""
    accepted = (_put(arguments, file) for file in arguments.file)
    return _tell_all(arguments, accepted, "in force")


def _put(arguments: argparse.Namespace, file: str) -> PolicyAccepted:
    from controlplane.contract.policy import parse_policy

    source, text = read_source(file)
    # Here already, for its name, and for faults that name the file.
    name = parse_policy(text, source).name
    return ask(arguments, lambda client: client.put_policy(name, text, wait=WAIT))


def remove(arguments: argparse.Namespace) -> int:
    """Out of force on every node, as a revision."""
    accepted = ask(arguments, lambda client: client.delete_policy(arguments.name, wait=WAIT))
    return _tell_all(arguments, [accepted], "removed")


def rollback(arguments: argparse.Namespace) -> int:
    """The text of an older revision as the newest one."""

    async def work(client: ApiClient) -> PolicyAccepted:
        wanted = await client.policy_revision(arguments.name, arguments.revision)
        if wanted.removed:
            raise CommandFailed(
                f"policy {wanted.name}: revision {wanted.revision} is a removal:"
                f" lictor policy remove {wanted.name}"
            )
        head = (await client.policy(arguments.name)).policy
        # What somebody else applies in this moment is not to be undone unseen.
        expected = None if head.removed else head.revision
        return await client.put_policy(wanted.name, wanted.text, wait=WAIT, expected=expected)

    accepted = ask(arguments, work)
    return _tell_all(arguments, [accepted], f"(the text of revision {arguments.revision}) in force")


def _tell_all(arguments: argparse.Namespace, all_of: Iterable[PolicyAccepted], done: str) -> int:
    """0 if every live node did every one of them."""
    status = 0
    for accepted in all_of:
        if accepted.nodes.pending or accepted.nodes.failed:
            status = EXIT_FAILED
        if arguments.json:
            print(json.dumps(accepted.model_dump(mode="json")), flush=True)
        else:
            print("\n".join(_rollout_lines(accepted, done)), flush=True)
    return status


def _rollout_lines(accepted: PolicyAccepted, done: str) -> Iterator[str]:
    nodes = accepted.nodes
    subject = f"policy {accepted.name}: revision {accepted.revision}"
    if nodes.acked:
        yield f"{subject} {done} on {_names(nodes.acked)}"
    elif not nodes.pending and not nodes.failed:
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


def list_policies(arguments: argparse.Namespace) -> int:
    """The newest revision of each, and how many nodes have it."""
    found = ask(arguments, lambda client: client.policies())
    if arguments.json:
        print_model(found)
        return 0
    header = ("NAME", "REVISION", "MODE", "APPLIED", "BY", "NODES", "SELECTS")
    print_table(header, [_row(status) for status in found.policies])
    if not found.policies:
        print("lictor: the control plane has none; this node's own: --node-only", file=sys.stderr)
    return 0


def _row(status: PolicyStatus) -> tuple[object, ...]:
    revision = status.policy
    mode, selects = _read(revision)
    return (
        revision.name,
        revision.revision,
        mode,
        local_time(revision.created),
        revision.author,
        _counts(status.nodes),
        selects,
    )


def _read(revision: PolicyRevision) -> tuple[str, str]:
    """(mode, selectors) of its text; a newer control plane may hold what we cannot read."""
    from controlplane.contract.policy import PolicyError, parse_policy

    try:
        spec = parse_policy(revision.text, revision.name).spec
    except PolicyError:
        return "?", "(not readable by this version)"
    return spec.mode, " ".join(each.cgroup for each in spec.select) or "(lictor run only)"


def _counts(nodes: Rollout) -> str:
    counts = {
        "in force": len(nodes.acked),
        "PENDING": len(nodes.pending),
        "FAILED": len(nodes.failed),
    }
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "none live"


def show(arguments: argparse.Namespace) -> int:
    """The document as it was sent, comments and all, below comments of where it is in force."""
    status = ask(arguments, lambda client: client.policy(arguments.name))
    if arguments.json:
        print_model(status)
        return 0
    revision = status.policy
    applied = f"by {printable(revision.author)} at {local_time(revision.created)}"
    if revision.removed:
        raise CommandFailed(
            f"policy {revision.name}: removed {applied} (revision {revision.revision});"
            f" before that: lictor policy history {revision.name}"
        )
    print(f"# revision {revision.revision}, {applied}; nodes: {_counts(status.nodes)}")
    print(revision.text, end="" if revision.text.endswith("\n") else "\n")
    return 0


def history(arguments: argparse.Namespace) -> int:
    """Every revision, newest first."""
    found = ask(arguments, lambda client: client.policy_history(arguments.name))
    if arguments.json:
        print_model(found)
        return 0
    newest = found.revisions
    changes = [*(_change(old, new) for new, old in pairwise(newest)), "first"]
    print_table(
        ("REVISION", "APPLIED", "BY", "CHANGE"),
        [
            (each.revision, local_time(each.created), each.author, change)
            for each, change in zip(newest, changes, strict=True)
        ],
    )
    return 0


def _change(old: PolicyRevision, new: PolicyRevision) -> str:
    if new.removed:
        return "removed"
    if old.removed:
        return "came back"
    before, after = Counter(old.text.splitlines()), Counter(new.text.splitlines())
    return f"+{(after - before).total()} -{(before - after).total()} lines"
