# SPDX-License-Identifier: Apache-2.0
"""lictor policy through the control plane: for every node, with revisions that stay."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from enforcer.cli import policy_node, rollout
from enforcer.cli.api import ask
from enforcer.cli.exits import EXIT_FAILED, CommandFailed
from enforcer.cli.output import local_time, print_json, print_model, print_table, printable
from enforcer.cli.policy_files import read_source

if TYPE_CHECKING:
    from controlplane.client import ApiClient
    from controlplane.contract.records import (
        PolicyAccepted,
        PolicyRevision,
        PolicyStatus,
        Rollout,
    )


def apply(arguments: argparse.Namespace) -> int:
    """Each file in its turn; the first that is refused ends it."""
    accepted = (_put(arguments, file) for file in arguments.file)
    return _tell_all(arguments, accepted, "in force")


def _put(arguments: argparse.Namespace, file: str) -> PolicyAccepted:
    from controlplane.contract.policy import parse_policy

    source, text = read_source(file)
    # Here already, for its name, and for faults that name the file.
    name = parse_policy(text, source).name
    return rollout.put(arguments, name, text)


def remove(arguments: argparse.Namespace) -> int:
    """Out of force on every node, as a revision."""
    accepted = ask(
        arguments, lambda client: client.delete_policy(arguments.name, wait=rollout.WAIT)
    )
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
        return await client.put_policy(
            wanted.name, wanted.text, wait=rollout.WAIT, expected=expected
        )

    accepted = ask(arguments, work)
    return _tell_all(arguments, [accepted], f"(the text of revision {arguments.revision}) in force")


def _tell_all(arguments: argparse.Namespace, all_of: Iterable[PolicyAccepted], done: str) -> int:
    """0 if every live node did every one of them."""
    status = 0
    for accepted in all_of:
        if rollout.is_late(accepted):
            status = EXIT_FAILED
        if arguments.json:
            print(json.dumps(accepted.model_dump(mode="json")), flush=True)
        else:
            print("\n".join(rollout.rollout_lines(accepted, done)), flush=True)
    return status


def list_policies(arguments: argparse.Namespace) -> int:
    """The newest revision of each, and how many nodes have it; then what only this node has."""
    found = ask(arguments, lambda client: client.policies())
    named = {status.policy.name for status in found.policies}
    own = policy_node.own_policies()
    alone = None if own is None else [row for row in own if row["name"] not in named]
    if arguments.json:
        print_json({**found.model_dump(mode="json"), "node_only": alone})
        return 0
    header = ("NAME", "REVISION", "MODE", "APPLIED", "BY", "NODES", "SELECTS")
    print_table(header, [*map(_row, found.policies), *map(_own_row, alone or ())])
    if not found.policies and not alone:
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


def _own_row(row: Mapping[str, Any]) -> tuple[object, ...]:
    name, revision, mode, applied, selects = policy_node.row_cells(row)
    return name, revision, mode, applied, None, "this node only", selects


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
