# SPDX-License-Identifier: Apache-2.0
"""What a policy costs, from the request that puts it to the answer that the node has it.

The answer comes once the uplink has acknowledged the revision, which the agent has read back from
the kernel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from controlplane.client import ApiClient, ApiError
from tests.bench.measuring import percentile

HERE = Path(__file__).resolve().parent
NAME = "bench"
# How many policies are in force, and how often one of them is put then.
SERIES = ((1, 100), (50, 50))
WARM_UP = 5
WAIT_SECONDS = 10
# Until then the uplink waits for the next change.
PAUSE_SECONDS = 0.1
READY_SECONDS = 30

Counters = Callable[[], dict[str, int]]
"""Numbers that grow; `all` is what the figures are of, the others are parts of it."""


def policy(name: str, number: int) -> str:
    """The benchmark's policy by another name, for that name's cgroups; each number's differs."""
    document = yaml.safe_load((HERE / "policy.yaml").read_text())
    document["metadata"]["name"] = name
    document["spec"]["select"] = [{"cgroup": f"/{name}.slice/**"}]
    address = f"10.0.{number >> 8}.{number & 255}/32"
    document["spec"]["egress"]["allow"].append({"to": address})
    return str(yaml.safe_dump(document))


async def put(client: ApiClient, name: str, text: str) -> None:
    """Return once the node has it in force. RuntimeError if it does not."""
    accepted = await client.put_policy(name, text, wait=WAIT_SECONDS)
    nodes = accepted.nodes
    if not nodes.acked or nodes.pending or nodes.failed:
        raise RuntimeError(f"policy {name}: put, and not taken by the node: {nodes}")


async def series(address: str, counters: Counters) -> list[dict[str, Any]]:
    """The costs of one more revision of a policy, with each number of policies in force."""
    found = []
    in_force = 1
    async with ApiClient(address) as client:
        await _until_live(client)
        for wanted, count in SERIES:
            # Nobody waits for these: the uplink brings the node all of them before the next.
            for number in range(in_force, wanted):
                name = f"{NAME}-{number}"
                await client.put_policy(name, policy(name, 0))
            in_force = wanted
            samples = [
                await _sample(client, policy(NAME, (wanted << 8) + number), counters)
                for number in range(WARM_UP + count)
            ]
            found.append(costs(wanted, samples[WARM_UP:]))
    return found


async def _sample(client: ApiClient, text: str, counters: Counters) -> dict[str, int]:
    await asyncio.sleep(PAUSE_SECONDS)
    before = counters()
    await put(client, NAME, text)
    after = counters()
    return {name: after[name] - before[name] for name in after}


async def _until_live(client: ApiClient) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                if any(node.live for node in (await client.nodes()).nodes):
                    return
            except (OSError, ApiError):
                pass
            await asyncio.sleep(PAUSE_SECONDS)


def costs(policies: int, samples: list[dict[str, int]]) -> dict[str, Any]:
    """p50 and p99 of `all`, the median of each part, and all of the slowest."""

    def of(name: str, percent: float) -> int:
        return percentile([sample[name] for sample in samples], percent)

    return {
        "policies": policies,
        "samples": len(samples),
        "p50": of("all", 50),
        "p99": of("all", 99),
        "parts": {name: of(name, 50) for name in samples[0] if name != "all"},
        "slowest": max(samples, key=lambda sample: sample["all"]),
    }
