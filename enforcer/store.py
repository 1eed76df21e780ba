# SPDX-License-Identifier: Apache-2.0
"""Policies on disk: every accepted revision, and which one is in force.

    policies/<name>/<revision>.json   one revision, never changed once written
    policies/names.json               name -> slot and grant bits, kept for good, since tasks
                                      hold both; and the revision in force, 0 for none

A revision is written only after the kernel has it; the loader puts the newest ones into force
at boot, before container runtimes start.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from controlplane.contract.policy import Policy, parse_policy_object, policy_digest
from enforcer import abi, paths

FIRST_SLOT = 2  # 0 means none, 1 is the canary's
SCHEMA = 1


@dataclass(frozen=True)
class StoredPolicy:
    """One revision. rules: field path by rule number, as compiled; time: unix seconds."""

    name: str
    revision: int
    slot: int
    policy: Policy
    rules: tuple[str, ...]
    time: float

    @cached_property
    def digest(self) -> str:
        """By which the control plane knows this document."""
        return policy_digest(self.policy)


@dataclass(frozen=True)
class _FileState:
    """What differs once a file has been written anew."""

    path: Path
    inode: int
    modified: int
    size: int

    @classmethod
    def of(cls, path: Path) -> _FileState:
        found = path.stat()
        return cls(path, found.st_ino, found.st_mtime_ns, found.st_size)


class PolicyStore:
    """The folder of policies. Damaged files are named in errors, never guessed at.

    What is in force is parsed once for as long as its files stay as they are: the agent asks for
    all of it at every change and every look at the machine.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or paths.POLICIES
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._parsed: dict[str, tuple[_FileState, StoredPolicy]] = {}
        self._parsed_table: tuple[_FileState, dict[str, Any]] | None = None

    def names(self) -> list[str]:
        """Names of the policies that have a revision in force."""
        return sorted(name for name, entry in self._table().items() if entry["active"])

    def active(self, name: str) -> StoredPolicy | None:
        """The revision of `name` that is in force."""
        entry = self._table().get(name)
        if not entry or not entry["active"]:
            self._parsed.pop(name, None)
            return None
        state = _FileState.of(self._path(name, entry["active"]))
        known = self._parsed.get(name)
        if known is None or known[0] != state:
            known = self._parsed[name] = state, self.revision(name, entry["active"])
        return known[1]

    def next_revision(self, name: str) -> int:
        """The number that the next accepted change of `name` gets."""
        numbers = [int(path.stem) for path in (self._folder / name).glob("[1-9]*.json")]
        return max(numbers, default=0) + 1

    def newest(self) -> dict[str, int]:
        """The highest revision that each name ever had here, removed policies included."""
        numbers = {name: self.next_revision(name) - 1 for name in sorted(self._table())}
        return {name: number for name, number in numbers.items() if number}

    def number_for(self, policy: Policy, wanted: int | None) -> int:
        """The revision that `policy` gets: `wanted`, if the control plane named one, or the next.

        A number stands for one document for good. So `wanted` is above all that are here, or the
        number under which this very document is here already; else ValueError.
        """
        newest = self.next_revision(policy.name) - 1
        if wanted is None:
            return newest + 1
        if wanted <= newest and not self._is(policy, wanted):
            raise ValueError(
                f"policy {policy.name}: revision {wanted} is not above {newest}, the newest that"
                " this node has, and not a document that it has; put the policy anew"
            )
        return wanted

    def _is(self, policy: Policy, number: int) -> bool:
        try:
            return self.revision(policy.name, number).policy == policy
        except FileNotFoundError:
            return False

    def revision(self, name: str, number: int) -> StoredPolicy:
        """One revision. Raises OSError if it is not there, ValueError naming a damaged file."""
        path = self._path(name, number)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["schema"] != SCHEMA:
                raise ValueError(f"schema {data['schema']} is not {SCHEMA}")
            policy = parse_policy_object(data["document"], str(path))
            return StoredPolicy(
                name, number, data["slot"], policy, tuple(data["rules"]), data["time"]
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: damaged: {error}") from None

    def save(self, stored: StoredPolicy) -> None:
        """Write a revision and put it into force, durable on return."""
        data = {
            "schema": SCHEMA,
            "slot": stored.slot,
            "time": stored.time,
            "rules": list(stored.rules),
            "document": stored.policy.to_document(),
        }
        path = self._path(stored.name, stored.revision)
        # A number that comes into force again keeps its file: a revision never changes.
        if not path.exists():
            paths.write_atomically(path, json.dumps(data, indent=1) + "\n")
        self._change(stored.name, active=stored.revision)

    def remove(self, name: str) -> None:
        """Take a policy out of force; its slot and its revisions stay."""
        self._change(name, active=0)

    def slot(self, name: str) -> int:
        """The slot of `name`, given out at first use. ValueError when all are taken."""
        table = self._table()
        if name not in table:
            taken = {entry["slot"] for entry in table.values()}
            free = next((n for n in range(FIRST_SLOT, abi.MAX_POLICIES) if n not in taken), None)
            if free is None:
                raise ValueError(
                    f"policy {name}: all {abi.MAX_POLICIES - FIRST_SLOT} policy names are taken"
                )
            self._write({**table, name: {"slot": free, "grants": {}, "active": 0}})
            return free
        return int(table[name]["slot"])

    def grant_bits(self, name: str, grants: list[str]) -> dict[str, int]:
        """Bit number of each grant, given out at first use and kept for the name's life."""
        self.slot(name)
        bits: dict[str, int] = {**self._table()[name]["grants"]}
        new = [grant for grant in grants if grant not in bits]
        for grant in new:
            free = next((n for n in range(1, 32) if n not in bits.values()), None)
            if free is None:
                raise ValueError(
                    f"policy {name}: grants.{grant}: the name has used its 31 grant names"
                )
            bits[grant] = free
        if new:
            self._change(name, grants=bits)
        return {grant: bits[grant] for grant in grants}

    def grant_names(self, name: str) -> dict[int, str]:
        """Grant name by bit number."""
        entry = self._table().get(name, {"grants": {}})
        return {bit: grant for grant, bit in entry["grants"].items()}

    def slots(self) -> dict[int, str]:
        """Policy name by slot, removed policies included."""
        return {entry["slot"]: name for name, entry in self._table().items()}

    def _path(self, name: str, number: int) -> Path:
        return self._folder / name / f"{number}.json"

    def _table(self) -> dict[str, Any]:
        path = self._folder / "names.json"
        try:
            state = _FileState.of(path)
        except FileNotFoundError:
            return {}
        if self._parsed_table is None or self._parsed_table[0] != state:
            self._parsed_table = state, _read_table(path)
        return self._parsed_table[1]

    def _change(self, name: str, **fields: Any) -> None:
        table = self._table()
        self._write({**table, name: {**table[name], **fields}})

    def _write(self, table: dict[str, Any]) -> None:
        paths.write_atomically(self._folder / "names.json", json.dumps(table, indent=1) + "\n")


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name, entry in table.items():
            fields = (entry["slot"], entry["active"], *entry["grants"].values())
            if not all(isinstance(number, int) for number in fields):
                raise ValueError(f"{name}: slot, active and grants hold numbers")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged: {error}") from None
    return table
