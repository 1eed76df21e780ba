# SPDX-License-Identifier: Apache-2.0
"""Accepted policies survive on disk as they were; a damaged file is named, never guessed at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enforcer import abi
from enforcer.store import FIRST_SLOT, PolicyStore, StoredPolicy
from tests.unit.controlplane.contract.documents import parsed


@pytest.fixture
def store(tmp_path: Path) -> PolicyStore:
    return PolicyStore(tmp_path / "policies")


def save(store: PolicyStore, name: str = "rl-sandbox", revision: int | None = None) -> StoredPolicy:
    number = store.next_revision(name) if revision is None else revision
    stored = StoredPolicy(name, number, store.slot(name), parsed(), ("egress", "exec"), 1.5e9)
    store.save(stored)
    return stored


def test_a_revision_comes_back_as_it_was(store: PolicyStore, tmp_path: Path) -> None:
    stored = save(store)
    again = PolicyStore(tmp_path / "policies")
    assert again.active("rl-sandbox") == stored
    assert again.revision("rl-sandbox", 1) == stored
    assert again.names() == ["rl-sandbox"]


def test_revisions_count_from_one_and_are_kept(store: PolicyStore) -> None:
    assert [save(store).revision for _ in range(11)] == list(range(1, 12))
    assert store.revision("rl-sandbox", 3).revision == 3
    active = store.active("rl-sandbox")
    assert active is not None
    assert active.revision == 11


def test_a_removed_policy_keeps_slot_and_revisions(store: PolicyStore) -> None:
    slot = save(store).slot
    save(store, "other")
    store.remove("rl-sandbox")
    assert store.names() == ["other"]
    assert store.active("rl-sandbox") is None
    assert store.slots()[slot] == "rl-sandbox"
    assert store.slot("third") not in (slot, store.slot("other"))
    assert save(store).slot == slot
    assert store.revision("rl-sandbox", 1).slot == slot
    assert store.next_revision("rl-sandbox") == 3


@pytest.mark.parametrize(
    ("wanted", "given"), [(None, 8), (8, 8), (500, 500), (7, 7), (2, 2)]
)  # fmt: skip
def test_a_number_is_new_or_stands_for_the_same_document(
    wanted: int | None, given: int, store: PolicyStore
) -> None:
    for number in (2, 7):
        save(store, revision=number)
    assert store.number_for(parsed(), wanted) == given


@pytest.mark.parametrize("wanted", [1, 2, 6, 7])
def test_a_number_that_stood_for_something_else_is_refused(wanted: int, store: PolicyStore) -> None:
    for number in (2, 7):
        save(store, revision=number)
    other = parsed(mode="audit")
    text = f"policy rl-sandbox: revision {wanted} is not above 7, the newest that this node has"
    with pytest.raises(ValueError, match=text):
        store.number_for(other, wanted)


def test_a_revision_in_force_again_keeps_its_file(store: PolicyStore, tmp_path: Path) -> None:
    save(store)
    path = tmp_path / "policies/rl-sandbox/1.json"
    before = path.read_bytes(), path.stat().st_mtime_ns
    save(store)
    again = StoredPolicy("rl-sandbox", 1, store.slot("rl-sandbox"), parsed(), ("egress",), 1.6e9)
    store.save(again)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    active = store.active("rl-sandbox")
    assert active is not None
    assert active.revision == 1
    assert store.next_revision("rl-sandbox") == 3


def test_the_newest_of_each_name_counts_removed_ones_too(store: PolicyStore) -> None:
    save(store, revision=9)
    save(store, "other")
    store.slot("never-accepted")
    store.remove("rl-sandbox")
    assert store.newest() == {"other": 1, "rl-sandbox": 9}


def test_slots_begin_after_the_canarys(store: PolicyStore) -> None:
    assert [store.slot(name) for name in ("a", "b", "a")] == [
        FIRST_SLOT,
        FIRST_SLOT + 1,
        FIRST_SLOT,
    ]


def test_no_slot_left_is_said_so(store: PolicyStore, tmp_path: Path) -> None:
    table = {f"p{n}": {"slot": n, "grants": {}, "active": 0} for n in range(2, abi.MAX_POLICIES)}
    (tmp_path / "policies/names.json").write_text(json.dumps(table))
    assert store.slot("p2") == 2
    with pytest.raises(ValueError, match="policy one-more: all 1022 policy names are taken"):
        store.slot("one-more")


def test_a_grants_bit_never_changes(store: PolicyStore) -> None:
    assert store.grant_bits("p", ["trainer", "tools"]) == {"trainer": 1, "tools": 2}
    assert store.grant_bits("p", ["fresh"]) == {"fresh": 3}
    assert store.grant_bits("p", ["tools"]) == {"tools": 2}
    assert store.grant_names("p") == {1: "trainer", 2: "tools", 3: "fresh"}
    assert store.grant_names("unknown") == {}


def test_the_32nd_grant_name_is_refused(store: PolicyStore) -> None:
    store.grant_bits("p", [f"g{n}" for n in range(31)])
    with pytest.raises(ValueError, match=r"policy p: grants\.late: the name has used its 31"):
        store.grant_bits("p", ["late"])
    assert "late" not in store.grant_names("p").values()


def _damaged(**fields: object) -> str:
    whole: dict[str, Any] = {
        "schema": 1, "slot": 2, "time": 1.0, "rules": [], "document": parsed().to_document(),
        **fields,
    }  # fmt: skip
    return json.dumps({name: value for name, value in whole.items() if value is not None})


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "list indices"),
        ("null", "not subscriptable"),
        ("\0\0\0\0", "Expecting value"),
        (_damaged(schema=2), "schema 2 is not 1"),
        (_damaged(schema=None), "'schema'"),
        (_damaged(rules=None), "'rules'"),
        (_damaged(document={"kind": "Policy"}), "apiVersion"),
    ],
)
def test_a_damaged_revision_is_named(
    text: str, cause: str, store: PolicyStore, tmp_path: Path
) -> None:
    save(store)
    path = tmp_path / "policies/rl-sandbox/1.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="damaged") as caught:
        store.active("rl-sandbox")
    assert str(path) in str(caught.value)
    assert cause in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", '{"p": 1}', '{"p": {}}', '{"p": {"slot": 2, "grants": {}}}', "\0\0",
     '{"p": {"slot": "2", "grants": {}, "active": 0}}',
     '{"p": {"slot": 2, "grants": [], "active": 0}}'],
)  # fmt: skip
def test_a_damaged_table_of_names_is_named(text: str, store: PolicyStore, tmp_path: Path) -> None:
    path = tmp_path / "policies/names.json"
    path.write_text(text)
    for ask in (store.names, store.slots, lambda: store.slot("p"), lambda: store.active("p")):
        with pytest.raises(ValueError, match="damaged") as caught:
            ask()
        assert str(path) in str(caught.value)


def test_a_revision_that_is_gone_is_named(store: PolicyStore, tmp_path: Path) -> None:
    save(store)
    (tmp_path / "policies/rl-sandbox/1.json").unlink()
    with pytest.raises(OSError, match=r"rl-sandbox/1\.json"):
        store.active("rl-sandbox")


def test_other_users_cannot_read_policies(store: PolicyStore, tmp_path: Path) -> None:
    save(store)
    assert (tmp_path / "policies").stat().st_mode & 0o077 == 0


def test_what_is_in_force_is_parsed_once(
    store: PolicyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"p{number}" for number in range(20)]
    for name in names:
        save(store, name)
    parsed_names: list[str] = []
    whole = store.revision

    def revision(name: str, number: int) -> StoredPolicy:
        parsed_names.append(name)
        return whole(name, number)

    monkeypatch.setattr(store, "revision", revision)
    for _ in range(3):
        assert [store.active(name) is not None for name in store.names()] == [True] * 20
    assert sorted(parsed_names) == sorted(names)
    save(store, "p7")
    assert [active.revision for name in names if (active := store.active(name))][6:9] == [1, 2, 1]
    assert parsed_names[20:] == ["p7"]


def test_what_another_process_writes_is_seen(store: PolicyStore, tmp_path: Path) -> None:
    save(store)
    assert store.names() == ["rl-sandbox"]
    assert store.active("rl-sandbox") is not None
    other = PolicyStore(tmp_path / "policies")
    save(other)
    save(other, "second")
    active = store.active("rl-sandbox")
    assert active is not None
    assert active.revision == 2
    other.remove("second")
    assert store.names() == ["rl-sandbox"]


def test_a_change_that_cannot_be_written_changes_nothing(
    store: PolicyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store)

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("enforcer.paths.write_atomically", full)
    for change in (lambda: store.remove("rl-sandbox"), lambda: store.slot("second")):
        with pytest.raises(OSError, match="No space"):
            change()
    assert store.names() == ["rl-sandbox"]
    assert store.slots() == {FIRST_SLOT: "rl-sandbox"}
