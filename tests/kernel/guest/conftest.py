# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the guest tests: Lictor up once, a network with a far side, policies that go away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.kernel.guest.network import FarSide, network
from tests.kernel.guest.nodes import GPU_NODES, CountedNode
from tests.kernel.guest.world import AppliedPolicy, Lictor, Workload

Confine = Callable[..., Workload]


@pytest.fixture(scope="session")
def lictor() -> Lictor:
    """Lictor, up. A test that takes it down puts it up again."""
    node = Lictor()
    node.up()
    return node


@pytest.fixture(scope="session")
def far_side() -> Iterator[FarSide]:
    """The other host: everything that reaches it is recorded. See network.py."""
    with network() as other:
        yield other


@pytest.fixture(scope="module")
def gpus() -> Iterator[dict[str, CountedNode]]:
    """Nodes by name, at a GPU driver's numbers; each counts who really opened it. See nodes.py.

    Gone with the module: the replay brings a GPU of its own at the same numbers.
    """
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(contextlib.closing(CountedNode(name, *numbers)))
            for name, numbers in GPU_NODES.items()
        }


@pytest.fixture
def policy(lictor: Lictor) -> Iterator[Callable[..., AppliedPolicy]]:
    """`policy(spec)` puts a policy into force under a fresh name until the test ends."""
    applied: dict[str, AppliedPolicy] = {}

    def apply(spec: str, *, name: str | None = None) -> AppliedPolicy:
        made = lictor.policy(spec, name=name)
        applied[made.name] = made
        return made

    yield apply
    for each in applied.values():
        lictor.remove(each)


@pytest.fixture
def confine(lictor: Lictor) -> Iterator[Confine]:
    """`confine(spec, grants)` gives a workload under a policy of its own until the test ends."""
    with contextlib.ExitStack() as stack:

        def make(spec: str, grants: Sequence[str] = ()) -> Workload:
            return stack.enter_context(lictor.confined(spec, grants))

        yield make
