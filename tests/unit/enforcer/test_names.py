# SPDX-License-Identifier: Apache-2.0
"""Events carry names; a number without one is still told apart from every other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer import cgroups, names
from enforcer.callbook import CallBook
from enforcer.names import CANARY_SLOT, EventNames, boot_identity
from enforcer.store import PolicyStore
from tests.unit.enforcer.test_callbook import open_call
from tests.unit.enforcer.test_store import save


class Book:
    """A store, calls and cgroups in one folder."""

    def __init__(self, folder: Path) -> None:
        self.store = PolicyStore(folder / "policies")
        self.calls = CallBook(folder / "calls.db")
        self.names = EventNames(self.store, self.calls)


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Book]:
    (tmp_path / "cgroup").mkdir()
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "cgroup")
    made = Book(tmp_path)
    yield made
    made.calls.close()


def test_a_policy_is_named_by_its_slot(book: Book) -> None:
    slot = save(book.store).slot
    assert book.names.policy(slot) == "rl-sandbox"
    assert book.names.policy(CANARY_SLOT) == "lictor-canary"
    assert book.names.policy(200) == "slot-200"


def test_a_policy_accepted_later_is_named_too(book: Book) -> None:
    assert book.names.policy(2) == "slot-2"
    save(book.store)
    assert book.names.policy(2) == "rl-sandbox"


def test_a_removed_policys_events_keep_its_name(book: Book) -> None:
    slot = save(book.store).slot
    book.store.remove("rl-sandbox")
    book.names.forget_policies()
    assert book.names.policy(slot) == "rl-sandbox"
    assert book.names.rule(slot, 1, 1) == "exec"


@pytest.mark.parametrize(
    ("revision", "number", "name"),
    [(1, 0, "egress"), (1, 1, "exec"), (1, 2, "rule-2"), (9, 0, "rule-0")],
)
def test_a_rule_is_named_by_its_field(revision: int, number: int, name: str, book: Book) -> None:
    slot = save(book.store).slot
    assert book.names.rule(slot, revision, number) == name


def test_a_revision_that_is_saved_a_moment_later_is_found_then(book: Book) -> None:
    slot = save(book.store).slot
    assert book.names.rule(slot, 2, 0) == "rule-0"
    save(book.store)
    assert book.names.rule(slot, 2, 0) == "egress"


def test_grants_are_named_without_the_base(book: Book) -> None:
    slot = save(book.store).slot
    book.store.grant_bits("rl-sandbox", ["trainer", "tools"])
    assert book.names.grants(slot, 0b1) == []
    assert book.names.grants(slot, 0b111) == ["trainer", "tools"]
    assert book.names.grants(slot, 0b1100) == ["tools", "grant-3"]


def test_a_workload_is_named_by_its_cgroup_even_after_it_is_gone(
    book: Book, tmp_path: Path
) -> None:
    folder = tmp_path / "cgroup/rl.slice/job"
    folder.mkdir(parents=True)
    number = folder.stat().st_ino
    assert book.names.workload(number) == "/rl.slice/job"
    folder.rmdir()
    assert book.names.workload(number) == "/rl.slice/job"


def test_a_workload_that_was_never_seen_is_its_number(book: Book) -> None:
    assert book.names.workload(999_999_999_999) == "cgroup-999999999999"


def test_workloads_in_memory_are_bounded(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MAXIMUM_WORKLOADS", 3)
    for number in range(10):
        book.names.learn_workload(number, f"/w{number}")
    assert len(book.names._workloads) == 3
    assert book.names.workload(9) == "/w9"


def test_a_call_is_ended_for_what_happened_after_its_end(book: Book) -> None:
    call = open_call(book.calls)
    assert book.names.call(call.number, 5e9)["state"] == "active"
    book.calls.close_call(call.number, "ended")
    assert book.names.call(call.number, 5e9)["state"] == "ended"
    assert book.names.call(call.number, 1.0)["state"] == "active"


def test_a_call_that_nobody_knows_is_said_so(book: Book) -> None:
    assert book.names.call(77, 1.0) == {
        "number": 77, "id": None, "episode": None, "step": None, "tool": None, "state": "unknown",
    }  # fmt: skip


def test_the_boot_is_the_kernels() -> None:
    boot, at = boot_identity()
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert at < Path("/proc/self").stat().st_mtime + 1
