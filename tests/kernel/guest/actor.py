# SPDX-License-Identifier: Apache-2.0
"""Processes that stay and act on command: outside, or as programs of a workload.

An attempt of child.py is still entering its workload: it has started no program there. What
guards forbid to the workload's own programs, these try (attempts/acts.c).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from enforcer import cgroups, paths
from enforcer.client import EnforcerClient
from tests.kernel.guest.child import Outcome, enter_network
from tests.kernel.guest.programs import compiled
from tests.kernel.guest.world import Workload


class Actor:
    """One process of attempts/acts.c. Use it with `with`, or `stop` it."""

    def __init__(
        self,
        workload: Workload | None = None,
        *,
        namespace: str | None = None,
        descriptors: tuple[int, ...] = (),
    ) -> None:
        self._process = subprocess.Popen(
            [compiled("acts")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            bufsize=1, pass_fds=descriptors, preexec_fn=lambda: _enter(workload, namespace),
        )  # fmt: skip
        self.pid = self._process.pid

    def act(self, *words: object) -> Outcome:
        """One attempt; the value is text, empty where the act has nothing to say."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        mark, _, text = self._process.stdout.readline().rstrip("\n").partition(" ")
        if mark == "!":
            return Outcome(errno=int(text), text=os.strerror(int(text)))
        assert mark == "=", f"{words}: the actor ended with {self._process.wait()}"
        return Outcome(text)

    def number(self, *words: object) -> int:
        """The number that an act which must work gives."""
        outcome = self.act(*words)
        assert outcome.errno is None, f"{words}: {outcome.text}"
        return int(outcome.value)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def begin_call(self, call: str) -> None:
        """Bind it to a tool call, as an executor outside of the workload does."""
        with EnforcerClient(paths.CALLS_SOCKET) as client:
            client.request("begin", id=call, target=self.pid)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


@contextlib.contextmanager
def actors(*workloads: Workload | None) -> Iterator[list[Actor]]:
    """One actor in each workload, None for outside."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Actor(workload)) for workload in workloads]


def _enter(workload: Workload | None, namespace: str | None) -> None:
    if namespace is not None:
        enter_network(namespace)
    if workload is not None:
        (cgroups.folder(workload.path) / "cgroup.procs").write_text("0")
