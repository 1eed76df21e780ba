# SPDX-License-Identifier: Apache-2.0
"""What guest tests do with Lictor: policies, workloads, attempts inside them, events.

An attempt is a Python callable that runs in a forked child: as itself outside every workload, or
inside one, in any network namespace. What it returns must be JSON; an OSError is an outcome, any
other exception fails the test with its traceback. A denial test makes the same attempt outside
first (`attempt`) and sees its effect on the far side, then inside (`Workload.run`).
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import io
import itertools
import json
import os
import subprocess
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from controlplane.contract.event import exact_bytes
from enforcer import abi, cgroups, libbpf, paths
from enforcer.cli.main import build_parser
from enforcer.client import EnforcerClient
from enforcer.maps import Table, pin_path
from tests.kernel.guest.child import Outcome, attempt

Event = dict[str, Any]
UP_SECONDS = 300

# What `Lictor.policy` fills in where the text names no such section, so that a test of one
# section meets denials of that section only.
OPEN = {
    "mode": "enforce", "egress": "any", "ingress": "any", "exec": "any", "devices": "any",
    "unix": "any",
}  # fmt: skip


@dataclass(frozen=True)
class AppliedPolicy:
    """A policy as it was put into force."""

    name: str
    revision: int


@dataclass
class Workload:
    """A fresh cgroup under a policy, as `lictor run` makes it."""

    lictor: Lictor
    policy: AppliedPolicy
    path: str
    id: int
    _client: EnforcerClient
    _seen: int = field(default=0)

    def run(
        self, action: Callable[..., Any], *arguments: Any, namespace: str | None = None
    ) -> Outcome:
        """Make an attempt inside; `namespace` is a network namespace of `ip netns`."""
        return attempt(action, *arguments, namespace=namespace, cgroup=self.path)

    def events(self, **filters: str) -> list[Event]:
        """Every event of this workload so far, in the order of its sequence numbers."""
        found = self.lictor.events(workload=self.path, **filters)
        return sorted(found, key=_number)

    def mark(self) -> None:
        """From here on events are fresh."""
        descriptor = libbpf.open_pin(str(pin_path("workloads")))
        try:
            counts: abi.Workload | None = Table("workloads", descriptor).get(self.id)
        finally:
            os.close(descriptor)
        self._seen = counts.sequence if counts else 0

    def fresh_events(self, kind: str | None = None) -> list[Event]:
        """Events since the last call, or since `mark`; `kind` leaves the others out."""
        found = [event for event in self.events() if _number(event) > self._seen]
        self._seen = max([self._seen, *(_number(event) for event in found)])
        return [event for event in found if kind is None or event["kind"] == kind]

    def finish(self) -> None:
        """End it: whatever still runs inside is killed, the cgroup removed."""
        folder = cgroups.folder(self.path)
        if folder.is_dir():
            (folder / "cgroup.kill").write_text("1")
            events = folder / "cgroup.events"
            while "populated 1" in events.read_text():
                pass
        self._client.close()
        self.lictor.request("run.finish", cgroup=self.path)


def _number(event: Event) -> int:
    """Of what the kernel counts; 0 for what the agent itself tells."""
    return int(event["sequence"] or 0)


class Lictor:
    """Lictor on this node, driven as an operator drives it."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def up(self) -> None:
        """Load the programs, start the agent. RuntimeError with what it said."""
        done = subprocess.run(
            ["lictor", "up", "--node-only"],
            capture_output=True, text=True, timeout=UP_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"lictor up ended with {done.returncode}:\n{done.stderr}")

    def request(self, operation: str, **fields: Any) -> dict[str, Any]:
        """One request to the agent as root."""
        with EnforcerClient(paths.ADMIN_SOCKET) as client:
            return client.request(operation, **fields)

    def policy(self, spec: str, *, name: str | None = None) -> AppliedPolicy:
        """Put a policy into force; `spec` is the YAML below `spec:`, see OPEN for what it lacks.

        With a `name` in use it is a new revision of that policy.
        """
        name = name or f"guest-{next(self._numbers)}"
        spec = textwrap.dedent(spec).strip("\n")
        named = {line.partition(":")[0] for line in spec.splitlines()}
        lines = [f"{key}: {value}" for key, value in OPEN.items() if key not in named]
        body = textwrap.indent("\n".join([*lines, spec]), "  ")
        text = f"apiVersion: lictor/v1\nkind: Policy\nmetadata: {{name: {name}}}\nspec:\n{body}\n"
        row = self.request("policy.apply", source=f"{name}.yaml", text=text)["policy"]
        return AppliedPolicy(row["name"], row["revision"])

    def remove(self, policy: AppliedPolicy) -> None:
        """Take a policy out of force."""
        self.request("policy.remove", name=policy.name)

    def workload(self, policy: AppliedPolicy, grants: Sequence[str] = ()) -> Workload:
        """A fresh workload under `policy`, as `lictor run --grant …` makes it; finish it later."""
        client = EnforcerClient(paths.ADMIN_SOCKET)
        made = client.request("run.prepare", policy=policy.name, grants=list(grants))
        return Workload(self, policy, made["cgroup"], made["workload"], client)

    @contextlib.contextmanager
    def confined(self, spec: str, grants: Sequence[str] = ()) -> Iterator[Workload]:
        """A workload under a policy of its own, both gone at the end."""
        policy = self.policy(spec)
        try:
            workload = self.workload(policy, grants)
            try:
                yield workload
            finally:
                workload.finish()
        finally:
            self.remove(policy)

    def events(self, **filters: str) -> list[Event]:
        """What this node's `lictor events --json` prints, as it happened; filters: its options."""
        words = [
            "events",
            "--json",
            "--node-only",
            *(f"--{name}={value}" for name, value in filters.items()),
        ]
        arguments = _parser().parse_args(words)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = arguments.run(arguments)
        assert status == 0, f"lictor {' '.join(words)} ended with {status}"
        found = [json.loads(line) for line in output.getvalue().splitlines()]
        # The rings of denials and of what was allowed may have been read at different moments.
        return sorted(found, key=lambda event: float(event["time"]))


@functools.cache
def _parser() -> argparse.ArgumentParser:
    """The command's own; made once, because under emulation that takes a while."""
    return build_parser(["events"])


def denied(outcome: Outcome) -> bool:
    """Whether the attempt met EPERM."""
    return outcome.errno == errno.EPERM


def facts(event: Event) -> dict[str, Any]:
    """What a test compares of an event: what was decided on what, why, and for whom."""
    object_ = dict(event["object"])
    if event["kind"] in ("exec", "mapping"):
        object_ = {"path": exact_bytes(event["object"], "path")}
    return {
        "kind": event["kind"],
        **object_,
        "decision": event["decision"],
        "rule": event["rule"],
        "reason": event["reason"],
        "policy": (event["policy"], event["revision"]),
        "attribution": event["attribution"],
    }


def expected(workload: Workload, kind: str, decision: str, reason: str, **rest: Any) -> Event:
    """The `facts` of an event of `workload` without a tool call; `rule` is None if not given."""
    return {
        "kind": kind,
        "decision": decision,
        "reason": reason,
        "rule": None,
        "policy": (workload.policy.name, workload.policy.revision),
        "attribution": "none",
        **rest,
    }
