# SPDX-License-Identifier: Apache-2.0
"""Revisions are kept for good; what nodes say of them counts for the boot that they say it of."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.contract.records import Acknowledgement, NodeReport, Rollout
from controlplane.storage import nodes, policies
from tests.unit.controlplane.samples import BOOT, NODE, OTHER_BOOT
from tests.unit.controlplane.storage.conftest import NOW, Storage


def put(storage: Storage, text: str, name: str = "base") -> int:
    return storage.write(policies.put, name, text, "alice", NOW).revision


def live(storage: Storage, node: str = NODE, boot: str = BOOT, **fields: Any) -> None:
    report = NodeReport(boot=boot, version="1", enforcing=True, mode="lsm", **fields)
    storage.write(nodes.report, node, report, NOW)


def ack(
    storage: Storage, revision: int, state: Any = "acked", message: str = "", boot: str = BOOT
) -> None:
    word = Acknowledgement(policy="base", revision=revision, state=state, message=message)
    storage.write(policies.acknowledge, NODE, boot, [word], NOW)


def rollout(storage: Storage, revision: int, now: float = NOW) -> Rollout:
    return storage.read(policies.rollout, "base", revision, now)


def test_each_new_text_is_a_revision_and_none_is_lost(storage: Storage) -> None:
    assert [put(storage, text) for text in ("one", "two", "one")] == [1, 2, 3]
    history = storage.read(policies.history, "base")
    assert [(p.revision, p.text, p.author) for p in history] == [
        (3, "one", "alice"), (2, "two", "alice"), (1, "one", "alice"),
    ]  # fmt: skip
    second = storage.read(policies.revision, "base", 2)
    assert second is not None
    assert (second.text, second.created) == ("two", NOW)
    assert storage.read(policies.revision, "base", 4) is None
    assert storage.read(policies.head, "other") is None


def test_the_same_text_again_changes_nothing(storage: Storage) -> None:
    put(storage, "one")
    version = storage.read(policies.version)
    assert put(storage, "one") == 1
    assert storage.read(policies.version) == version


def test_the_same_text_is_a_new_revision_where_a_node_has_taken_higher_numbers(
    storage: Storage,
) -> None:
    put(storage, "one")
    live(storage, policies={"base": 4})
    assert put(storage, "one") == 5
    assert put(storage, "one") == 5


def test_a_removal_is_a_revision_and_can_be_taken_back(storage: Storage) -> None:
    put(storage, "one")
    removed = storage.write(policies.remove, "base", "bob", NOW)
    assert removed is not None
    assert (removed.revision, removed.removed, removed.text) == (2, True, "")
    assert storage.write(policies.remove, "base", "bob", NOW) == removed
    assert storage.read(policies.desired).policies == [removed]
    assert put(storage, "one") == 3
    assert storage.write(policies.remove, "unknown", "bob", NOW) is None


def test_desired_are_the_heads_and_its_version_grows_with_each_change(storage: Storage) -> None:
    assert storage.read(policies.desired).version == 0
    put(storage, "one")
    put(storage, "two")
    put(storage, "other", "another")
    desired = storage.read(policies.desired)
    assert desired.version == 3
    assert [(p.name, p.revision) for p in desired.policies] == [("another", 1), ("base", 2)]


def test_a_number_that_a_node_has_taken_by_hand_is_not_given_again(storage: Storage) -> None:
    live(storage, policies={"base": 7, "other": 2})
    assert put(storage, "one") == 8
    ack(storage, 11)
    assert put(storage, "two") == 12
    live(storage, policies={"base": 3})
    assert put(storage, "three") == 13


def test_a_live_node_is_pending_until_it_has_acknowledged(storage: Storage) -> None:
    put(storage, "one")
    assert rollout(storage, 1) == Rollout(acked=[], pending=[], failed=[])
    live(storage)
    live(storage, "gpu-2")
    assert rollout(storage, 1).pending == ["gpu-1", "gpu-2"]
    ack(storage, 1)
    assert rollout(storage, 1) == Rollout(acked=["gpu-1"], pending=["gpu-2"], failed=[])


def test_a_node_that_is_silent_does_not_count(storage: Storage) -> None:
    live(storage)
    assert rollout(storage, 1, NOW + 30).pending == [NODE]
    assert rollout(storage, 1, NOW + 31).pending == []


@pytest.mark.parametrize(
    ("words", "revision", "expected"),
    [
        ([(1, "acked")], 1, "acked"),
        ([(2, "acked")], 1, "acked"),
        ([(1, "acked")], 2, "pending"),
        ([(1, "failed")], 1, "failed"),
        ([(1, "acked"), (2, "failed")], 2, "failed"),
        ([(1, "acked"), (2, "failed")], 1, "acked"),
        ([(2, "failed"), (1, "acked")], 2, "failed"),
        ([(2, "acked"), (1, "failed")], 2, "acked"),
        ([(2, "acked"), (1, "acked")], 2, "acked"),
        ([(1, "failed"), (1, "acked")], 1, "acked"),
        ([(1, "acked"), (1, "failed")], 1, "failed"),
        ([(1, "failed"), (2, "acked")], 1, "acked"),
        ([(2, "failed")], 1, "failed"),
    ],
)
def test_the_newest_revision_and_the_last_word_on_it_count(
    storage: Storage, words: list[tuple[int, str]], revision: int, expected: str
) -> None:
    live(storage)
    for number, state in words:
        ack(storage, number, state)
    result = rollout(storage, revision)
    found = {
        "acked": result.acked,
        "pending": result.pending,
        "failed": [failure.node for failure in result.failed],
    }
    assert found == {name: [NODE] if name == expected else [] for name in found}


def test_a_refusal_says_why(storage: Storage) -> None:
    live(storage)
    ack(storage, 1, "failed", "policy base: two policies on /rl.slice\0\ud800")
    (failure,) = rollout(storage, 1).failed
    assert failure.message == "policy base: two policies on /rl.slice\\x00\\ud800"


def test_a_reboot_makes_all_pending_until_the_new_kernel_is_read_back(storage: Storage) -> None:
    live(storage)
    ack(storage, 1)
    live(storage, boot=OTHER_BOOT)
    assert rollout(storage, 1).pending == [NODE]
    ack(storage, 1, boot=OTHER_BOOT)
    assert rollout(storage, 1).acked == [NODE]


def test_an_acknowledgement_may_come_before_the_boots_first_report(storage: Storage) -> None:
    live(storage)
    ack(storage, 1, boot=OTHER_BOOT)
    assert rollout(storage, 1).pending == [NODE]
    live(storage, boot=OTHER_BOOT)
    assert rollout(storage, 1).acked == [NODE]
