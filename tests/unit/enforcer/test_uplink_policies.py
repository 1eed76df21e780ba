# SPDX-License-Identifier: Apache-2.0
"""A node comes to have what is desired, and says of each revision what its agent said."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yaml

from controlplane.contract.policy import parse_policy, policy_digest
from controlplane.contract.records import PolicyRevision
from controlplane.contract.wire import RequestError
from enforcer import uplink_policies
from enforcer.client import EnforcerUnavailable
from enforcer.uplink_policies import LONGEST_MESSAGE, Reconciler
from tests.unit.controlplane.contract.documents import whole


def text(name: str, cgroup: str, **spec: Any) -> str:
    document = whole()
    document["metadata"] = {"name": name}
    document["spec"] |= {"select": [{"cgroup": cgroup}], **spec}
    return yaml.safe_dump(document)


def revision(name: str, number: int, cgroup: str = "", **spec: Any) -> PolicyRevision:
    body = text(name, cgroup or f"/{name}.slice/**", **spec)
    return PolicyRevision(
        name=name, revision=number, removed=False, text=body, author="a", created=1.0
    )


def removal(name: str, number: int) -> PolicyRevision:
    return PolicyRevision(
        name=name, revision=number, removed=True, text="", author="a", created=1.0
    )


def digest(found: PolicyRevision) -> str:
    return policy_digest(parse_policy(found.text, "test"))


class Node:
    """What an agent does with policies: one for a cgroup, numbers that only grow."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[int, str, str]] = {}
        self.asked: list[tuple[str, str]] = []
        self.away = False

    def has(self, found: PolicyRevision) -> None:
        self._apply(found.text, found.revision)

    def revisions(self) -> dict[str, int]:
        return {name: number for name, (number, _, _) in sorted(self.held.items())}

    async def ask(self, operation: str, **fields: Any) -> dict[str, Any]:
        if self.away:
            raise EnforcerUnavailable("admin.sock: no agent answers")
        if operation == "policy.list":
            rows = [
                {"name": name, "revision": number, "digest": digest}
                for name, (number, digest, _) in self.held.items()
            ]
            return {"policies": rows}
        if operation == "policy.remove":
            self.asked.append(("remove", fields["name"]))
            del self.held[fields["name"]]
            return {}
        name = self._apply(fields["text"], fields["revision"])
        self.asked.append(("apply", name))
        return {"policy": {"digest": self.held[name][1]}}

    def _apply(self, text: str, number: int) -> str:
        policy = parse_policy(text, "test")
        cgroup = policy.spec.select[0].cgroup
        for name, (_, _, theirs) in self.held.items():
            if theirs == cgroup and name != policy.name:
                raise RequestError("failed", f"{cgroup} is {name}'s")
        self.held[policy.name] = (number, policy_digest(policy), cgroup)
        return policy.name


def reconciled(node: Node, *desired: PolicyRevision) -> dict[str, tuple[int, str, str]]:
    found = asyncio.run(Reconciler(node.ask).reconcile(desired))
    return {ack.policy: (ack.revision, ack.state, ack.message) for ack in found}


def test_what_is_lacking_is_applied_and_removed_and_acknowledged() -> None:
    node = Node()
    node.has(revision("old", 1))
    acks = reconciled(node, revision("new", 3), removal("old", 2), removal("never-here", 9))
    assert node.revisions() == {"new": 3}
    assert acks == {
        "new": (3, "acked", ""), "old": (2, "acked", ""), "never-here": (9, "acked", ""),
    }  # fmt: skip


def test_what_is_there_already_is_acknowledged_without_a_step() -> None:
    node = Node()
    wanted = revision("rl", 4)
    node.has(wanted)
    assert reconciled(node, wanted) == {"rl": (4, "acked", "")}
    assert node.asked == []


def test_what_was_never_named_is_left_alone() -> None:
    node = Node()
    node.has(revision("local", 7))
    reconciled(node, revision("rl", 1))
    assert node.revisions() == {"local": 7, "rl": 1}


@pytest.mark.parametrize("number", [3, 4, 5])
@pytest.mark.parametrize("removed", [False, True])
def test_what_was_changed_on_the_node_since_is_changed_back(number: int, removed: bool) -> None:
    node = Node()
    wanted = revision("rl", 4)
    reconciler = Reconciler(node.ask)
    for _ in range(3):
        node.has(revision("rl", number, mode="audit"))
        asyncio.run(reconciler.reconcile([removal("rl", 4) if removed else wanted]))
        assert node.revisions() == ({} if removed else {"rl": 4})
    assert node.asked == [("remove" if removed else "apply", "rl")] * 3


def test_a_revision_is_parsed_once_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def parse(text: str, source: str) -> Any:
        parsed.append(text)
        return parse_policy(text, source)

    monkeypatch.setattr(uplink_policies, "parse_policy", parse)
    node = Node()
    node.has(revision("old", 1))
    reconciler = Reconciler(node.ask)
    for _ in range(3):
        asyncio.run(reconciler.reconcile([revision("old", 1), revision("new", 1)]))
    assert parsed == [revision("old", 1).text]


def test_removals_make_room_first() -> None:
    node = Node()
    node.has(revision("old", 1, "/jobs.slice/**"))
    acks = reconciled(node, revision("a-new", 1, "/jobs.slice/**"), removal("old", 2))
    assert {state for _, state, _ in acks.values()} == {"acked"}
    assert node.asked == [("remove", "old"), ("apply", "a-new")]


def test_one_that_stands_in_anothers_way_is_moved_first() -> None:
    node = Node()
    node.has(revision("b", 1, "/jobs.slice/**"))
    acks = reconciled(node, revision("a", 1, "/jobs.slice/**"), revision("b", 2, "/else.slice/**"))
    assert {state for _, state, _ in acks.values()} == {"acked"}
    assert node.revisions() == {"a": 1, "b": 2}


def test_a_refused_revision_fails_with_the_agents_words_and_alone() -> None:
    node = Node()
    node.has(revision("local", 1, "/rl.slice/**"))
    broken = revision("broken", 2).model_copy(update={"text": "kind: x"})

    async def ask(operation: str, **fields: Any) -> dict[str, Any]:
        if fields.get("text") == "kind: x":
            raise RequestError("invalid_policy", "line 1: " + "x" * 9000)
        return await node.ask(operation, **fields)

    desired = [revision("rl", 3), broken, revision("good", 1)]
    found = asyncio.run(Reconciler(ask).reconcile(desired))
    assert [(ack.policy, ack.state) for ack in found] == [
        ("rl", "failed"), ("broken", "failed"), ("good", "acked"),
    ]  # fmt: skip
    assert found[0].message == "/rl.slice/** is local's"
    assert len(found[1].message) == LONGEST_MESSAGE
    assert node.revisions() == {"good": 1, "local": 1}


def test_without_an_agent_nothing_is_said() -> None:
    node = Node()
    node.away = True
    with pytest.raises(EnforcerUnavailable, match="no agent answers"):
        reconciled(node, revision("rl", 1))
