# SPDX-License-Identifier: Apache-2.0
"""Audit mode: everything works, and what would have been denied is told with its reason."""

from __future__ import annotations

import errno
import subprocess
from collections import Counter

from enforcer import cgroups
from tests.kernel.guest.attempts.battery import KINDS, everything
from tests.kernel.guest.child import Outcome, attempt, enter_network
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.network import FAR4, FAR6, INSIDE, FarSide
from tests.kernel.guest.nodes import CountedNode
from tests.kernel.guest.programs import compiled
from tests.kernel.guest.world import Lictor, Workload, expected, facts

# A connect that a send implies only gets no answer.
REFUSED = {errno.EPERM, errno.ENOTCONN}
SECTIONS = """
egress: {allow: [{to: 10.77.0.2, ports: [443]}]}
exec: {allow: [/usr/**], deny: [/usr/local/**]}
devices: {allow: [standard], gpus: none}
"""


def run_everything(
    workload: Workload, far_side: FarSide, gpus: dict[str, CountedNode]
) -> tuple[set[int], int, int]:
    """(errnos met, packets that arrived, devices that were opened)."""
    node = gpus["nvidia0"]
    far_side.mark()
    node.opens()
    results = workload.run(everything, compiled("witness"), node.path, namespace=INSIDE).value
    return {results[name] for name in KINDS}, len(far_side.seen()), node.opens()


def test_audit_denies_nothing_and_tells_everything(
    confine: Confine, far_side: FarSide, gpus: dict[str, CountedNode]
) -> None:
    workload = confine(f"mode: audit\n{SECTIONS}")

    assert run_everything(workload, far_side, gpus) == ({0}, len(KINDS) - 2, 1)

    def told(kind: str, reason: str, **rest: object) -> dict[str, object]:
        return expected(workload, kind, "audited", reason, **rest)

    def net(kind: str, family: str, address: str, reason: str) -> dict[str, object]:
        protocol, port = ("udp", 53) if kind == "send" else ("tcp", 80)
        return told(kind, reason, family=family, protocol=protocol, address=address, port=port)

    node = gpus["nvidia0"]
    assert [facts(event) for event in workload.events()] == [
        net("connect", "ipv4", FAR4, "port"),
        net("connect", "ipv6", FAR6, "not_allowed"),
        net("connect", "ipv6", FAR4, "port"),
        net("send", "ipv4", FAR4, "port"),
        net("send", "ipv6", FAR6, "not_allowed"),
        net("connect", "ipv4", FAR4, "port"),
        told("socket", "family", family="ipv4", type="raw", protocol="253"),
        told("exec", "rule", rule="exec.deny[0]", path=compiled("witness").encode()),
        told(
            "device", "not_allowed",
            type="char", major=195, minor=0, **{"class": "nvidia"},
        ),
    ]  # fmt: skip
    assert node.major == 195


def test_next_revision_decides_for_tasks_that_run_already(
    lictor: Lictor, confine: Confine, far_side: FarSide, gpus: dict[str, CountedNode]
) -> None:
    workload = confine(f"mode: audit\n{SECTIONS}")

    def enter() -> None:
        enter_network(INSIDE)
        (cgroups.folder(workload.path) / "cgroup.procs").write_text("0")

    with subprocess.Popen(
        ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=enter
    ) as shell:
        orders, answers = shell.stdin, shell.stdout
        assert orders is not None
        assert answers is not None

        def connects() -> bool:
            far_side.mark()
            print(f"(: 3<>/dev/tcp/{FAR4}/80) && echo 0 || echo 1", file=orders, flush=True)
            said = answers.readline()
            assert len(far_side.seen()) == (said == "0\n")
            return said == "0\n"

        assert connects()
        assert run_everything(workload, far_side, gpus)[0] == {0}
        again = lictor.policy(f"mode: enforce\n{SECTIONS}", name=workload.policy.name)
        workload.mark()
        assert not connects()
        assert run_everything(workload, far_side, gpus) == (REFUSED, 0, 0)
        orders.close()
    assert again.revision == workload.policy.revision + 1
    assert Counter((e["decision"], e["revision"]) for e in workload.fresh_events()) == {
        ("denied", again.revision): len(KINDS) + 1
    }


def test_each_kind_names_the_tool_call_from_which_it_descends(
    lictor: Lictor, confine: Confine, far_side: FarSide, gpus: dict[str, CountedNode]
) -> None:
    workload_policy = confine(SECTIONS).policy.name
    script = (
        f"exec 3<>/dev/tcp/{FAR4}/80; echo word >/dev/udp/{FAR4}/53;"
        f" head -c1 {gpus['nvidia0'].path}; {compiled('witness')}; ping -c1 -W1 {FAR4}; true"
    )
    words = ["lictor", "run", "--policy", workload_policy, "--call", "c1", "--episode", "e1", "--"]

    def run() -> int:
        command = [*words, "bash", "-c", script]
        return subprocess.run(command, capture_output=True, check=False).returncode

    far_side.mark()
    assert attempt(run, namespace=INSIDE) == Outcome(0)
    assert far_side.seen() == []
    found = [event for event in lictor.events(episode="e1") if event["decision"] == "denied"]
    assert {event["kind"] for event in found} == set(KINDS.values())
    for event in found:
        assert (event["attribution"], event["tag"]["call"]["id"]) == ("kernel", "c1")
