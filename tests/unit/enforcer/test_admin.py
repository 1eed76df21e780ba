# SPDX-License-Identifier: Apache-2.0
"""Root asks the agent for policies and runs over its socket; a workload is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.contract.policy import parse_policy, policy_digest
from controlplane.contract.wire import RequestError
from enforcer import VERSION
from enforcer.admin import AdminOperations
from enforcer.names import boot_identity
from tests.unit.controlplane.contract.documents import whole
from tests.unit.enforcer.served_agent import ME, ServedAgent
from tests.unit.enforcer.tables import tagged

TEXT = yaml.safe_dump(whole())


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedAgent]:
    made = ServedAgent(tmp_path, monkeypatch)
    yield made
    made.close()


def test_a_policy_is_applied_listed_shown_and_removed(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        applied = await node.admin("policy.apply", source="p.yaml", text=TEXT.encode())
        row = applied["policy"]
        digest = policy_digest(parse_policy(TEXT, "p"))
        assert (row["name"], row["revision"], row["digest"]) == ("rl-sandbox", 1, digest)
        assert applied["warnings"] == []
        assert (await node.admin("policy.apply", source="p", text=TEXT))["policy"]["revision"] == 2
        [listed] = (await node.admin("policy.list"))["policies"]
        assert (listed["name"], listed["select"]) == ("rl-sandbox", ["/rl.slice/**"])
        shown = (await node.admin("policy.show", name="rl-sandbox"))["policy"]
        assert parse_policy(yaml.safe_dump(shown["document"]), "p") == parse_policy(TEXT, "p")
        slot = node.agent.store.slot("rl-sandbox")
        ruleset = node.maps.policies.get(slot)
        assert ruleset is not None
        assert len(list(node.maps.paths.keys())) == 3
        await node.admin("policy.remove", name="rl-sandbox")
        assert (await node.admin("policy.list"))["policies"] == []
        assert list(node.maps.paths.keys()) == []

    node.serve(work)


def test_a_revision_is_the_control_planes_if_it_says_so(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        applied = await node.admin("policy.apply", source="p", text=TEXT, revision=7)
        assert applied["policy"]["revision"] == 7
        head = node.maps.policies.get(node.agent.store.slot("rl-sandbox"))
        assert head is not None
        ruleset = node.maps.rulesets.get(head.ruleset)
        assert ruleset is not None
        assert ruleset.revision == 7
        again = await node.admin("policy.apply", source="p", text=TEXT, revision=7)
        assert again["policy"]["revision"] == 7
        assert (await node.admin("policy.apply", source="p", text=TEXT))["policy"]["revision"] == 8
        other = TEXT.replace("mode: enforce", "mode: audit")
        assert other != TEXT
        with pytest.raises(RequestError, match="policy rl-sandbox: revision 8 is not above 8"):
            await node.admin("policy.apply", source="p", text=other, revision=8)
        [listed] = (await node.admin("policy.list"))["policies"]
        assert (listed["revision"], listed["mode"]) == (8, "enforce")
        assert (await node.admin("status"))["revisions"] == {"rl-sandbox": 8}

    node.serve(work)


def test_an_older_revision_is_shown_also_after_a_removal(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        await node.admin("policy.apply", source="p", text=TEXT)
        audit = TEXT.replace("mode: enforce", "mode: audit")
        await node.admin("policy.apply", source="p", text=audit)
        await node.admin("policy.remove", name="rl-sandbox")
        for number, mode in ((1, "enforce"), (2, "audit")):
            shown = await node.admin("policy.show", name="rl-sandbox", revision=number)
            policy = shown["policy"]
            assert (policy["revision"], policy["document"]["spec"]["mode"]) == (number, mode)
        with pytest.raises(RequestError, match="policy rl-sandbox: this node has no revision 3"):
            await node.admin("policy.show", name="rl-sandbox", revision=3)

    node.serve(work)


def test_a_run_is_prepared_bound_and_finished(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        await node.admin("policy.apply", source="p", text=TEXT)
        prepared = await node.admin("run.prepare", policy="rl-sandbox", grants=[], episode="e-1")
        assert prepared["cgroup"] == "/lictor.slice/run-rl-sandbox-1"
        assert node.agent.book.bound_episode(prepared["workload"]) == "e-1"
        child = 424242
        node.tasks.by_tid[child] = tagged(child, workload=prepared["workload"])
        with pytest.raises(RequestError, match="process 424242 is in no workload"):
            await node.admin("run.begin", id="c-1", target=child)
        assert await node.admin("run.finish", cgroup=prepared["cgroup"]) == {
            "version": 1, "ok": True, "removed": True,
        }  # fmt: skip
        assert not (node.pins.cgroups / "lictor.slice/run-rl-sandbox-1").exists()

    node.serve(work)


@pytest.mark.parametrize(
    ("operation", "fields", "code", "text"),
    [
        ("policy.apply", {"source": "p"}, "invalid", "policy.apply: text: is missing"),
        ("policy.apply", {"text": "x"}, "invalid", "policy.apply: source: is missing or no text"),
        ("policy.apply", {"source": "p", "text": 7}, "invalid", "policy.apply: text: is missing"),
        ("policy.apply", {"source": "p", "text": "kind: x"}, "invalid_policy", "apiVersion"),
        ("policy.apply", {"source": "p", "text": b"\xff"}, "invalid_policy", "p: "),
        ("policy.apply", {"source": "p", "text": TEXT, "revision": 0}, "invalid", "revision: 0 is"),
        (
            "policy.apply",
            {"source": "p", "text": TEXT, "revision": "1"},
            "invalid",
            "revision: '1'",
        ),
        ("policy.apply", {"source": "p", "text": TEXT, "revision": True}, "invalid", "True is not"),
        ("policy.apply", {"source": "p", "text": TEXT, "revision": 1 << 31}, "invalid", "is not 1"),
        ("policy.show", {"name": "absent"}, "unknown_policy", "policy absent: is not in force"),
        ("policy.show", {}, "invalid", "policy.show: name: is missing or no text"),
        ("policy.show", {"name": "p", "revision": "1"}, "invalid", "policy.show: revision: '1' is"),
        ("policy.show", {"name": "p", "revision": 1}, "unknown_policy", "node has no revision 1"),
        ("policy.show", {"name": "../p", "revision": 1}, "unknown_policy", "has no revision 1"),
        ("policy.remove", {"name": "absent"}, "failed", "policy absent: is not in force"),
        ("run.prepare", {"policy": "absent"}, "unknown_policy", "in force: none"),
        ("run.prepare", {"policy": "p", "grants": "x"}, "invalid", "is not a list of names"),
        ("run.prepare", {"policy": "p", "grants": [1]}, "invalid", "is not a list of names"),
        ("run.prepare", {}, "invalid", "run.prepare: policy: is missing"),
        ("run.begin", {"id": "c"}, "invalid", "begin: name one of thread and target"),
        ("run.finish", {}, "invalid", "run.finish: cgroup: is missing"),
        ("run.finish", {"cgroup": "/rl.slice"}, "invalid", "is not a run's cgroup"),
        ("run.finish", {"cgroup": "/x", "call": 99}, "unknown_call", "no call 99"),
    ],
)
def test_a_faulty_request_is_refused_by_its_field(
    operation: str, fields: dict[str, Any], code: str, text: str, node: ServedAgent
) -> None:
    async def work(node: ServedAgent) -> None:
        with pytest.raises(RequestError, match=text) as caught:
            await node.admin(operation, **fields)
        assert caught.value.code == code

    node.serve(work)


def test_a_process_of_a_workload_administers_nothing(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        await node.admin("policy.apply", source="p", text=TEXT)
        node.tasks.by_tid[ME] = tagged(ME)
        for operation, fields in (
            ("policy.remove", {"name": "rl-sandbox"}),
            ("status", {}),
            ("run.prepare", {"policy": "rl-sandbox", "grants": []}),
        ):
            with pytest.raises(RequestError, match="a process of a workload may not"):
                await node.admin(operation, **fields)
        assert node.agent.store.names() == ["rl-sandbox"]

    node.serve(work)


def test_nobody_administers_who_is_gone_or_came_after_the_connection(
    node: ServedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(node: ServedAgent) -> None:
        for started in (None, str(1 << 62)):
            monkeypatch.setattr("enforcer.agent.start_time", lambda _, found=started: found)
            for operation in AdminOperations(node.agent).table():
                with pytest.raises(RequestError, match="a process of a workload may not"):
                    await node.admin(operation)

    node.serve(work)


def test_a_thread_of_a_workload_is_enough_to_be_refused(
    node: ServedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(node: ServedAgent) -> None:
        monkeypatch.setattr("enforcer.agent.threads_of", lambda pid: [pid, 424242])
        assert (await node.admin("status"))["pid"] == ME
        node.tasks.by_tid[424242] = tagged(424242)
        with pytest.raises(RequestError, match="a process of a workload may not"):
            await node.admin("status")

    node.serve(work)


def test_status_says_what_is_covered_and_what_went_missing(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        await node.admin("policy.apply", source="p", text=TEXT)
        status = await node.admin("status")
        assert (status["node"], status["pid"], status["program_set"]) == ("node-1", ME, 1)
        assert status["policies"] == ["rl-sandbox"]
        assert [row["path"] for row in status["workloads"]] == ["/rl.slice"]
        assert (status["boot"], status["release"]) == (boot_identity()[0], VERSION)
        assert (status["enforcing"], status["mode"]) == (False, None)
        assert status["problem"] == "no programs are loaded (lictor up)"
        lost = ("spool_dropped", "undecodable", "unwritten")
        assert {name: status[name] for name in lost} == dict.fromkeys(lost, 0)
        assert (await node.admin("drain"))["events"] == 0

    node.serve(work)
