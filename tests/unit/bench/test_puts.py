# SPDX-License-Identifier: Apache-2.0
"""The policies that are put are valid and differ, and a put that the node refuses is none."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from controlplane.client import ApiClient
from controlplane.contract.policy import parse_policy
from controlplane.contract.records import PolicyAccepted, PolicyFailure, Rollout
from tests.bench import puts


def test_every_number_is_another_policy_of_its_name() -> None:
    texts = [puts.policy("bench-7", number) for number in (0, 255, 256)]
    policies = [parse_policy(text, "test") for text in texts]
    assert [policy.name for policy in policies] == ["bench-7"] * 3
    assert [policy.spec.select[0].cgroup for policy in policies] == ["/bench-7.slice/**"] * 3
    assert policies[0] != policies[1] != policies[2]
    assert "10.0.1.0/32" in texts[2]


class Client:
    """A control plane that answers a PUT with `nodes`."""

    def __init__(self, nodes: Rollout) -> None:
        self._nodes = nodes

    async def put_policy(self, name: str, text: str, *, wait: int) -> PolicyAccepted:
        assert wait > 0
        return PolicyAccepted(name=name, revision=1, nodes=self._nodes)


def put(nodes: Rollout) -> None:
    asyncio.run(puts.put(cast("ApiClient", Client(nodes)), "bench", "text"))


def test_a_put_is_over_when_the_node_has_it() -> None:
    put(Rollout(acked=["node"], pending=[], failed=[]))


@pytest.mark.parametrize(
    "nodes",
    [
        Rollout(acked=[], pending=[], failed=[]),
        Rollout(acked=[], pending=["node"], failed=[]),
        Rollout(acked=["a"], pending=[], failed=[PolicyFailure(node="b", message="no room")]),
    ],
)
def test_a_put_that_did_not_take_ends_the_benchmark(nodes: Rollout) -> None:
    with pytest.raises(RuntimeError, match="policy bench: put, and not taken by the node"):
        put(nodes)


def test_costs_are_of_the_whole_and_of_its_parts() -> None:
    samples = [{"agent": n, "client": 200 - n, "all": 1000 + n} for n in range(1, 101)]
    assert puts.costs(50, samples) == {
        "policies": 50,
        "samples": 100,
        "p50": 1050,
        "p99": 1099,
        "parts": {"agent": 50, "client": 149},
        "slowest": {"agent": 100, "client": 100, "all": 1100},
    }
