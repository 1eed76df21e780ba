# SPDX-License-Identifier: Apache-2.0
"""Ends connections whose packets the kernel programs drop, so that their owners hear of it.

A connection that is older than a rule, or that a send has begun, gets no errno when its packets
are dropped: it would wait for minutes. Nothing here is needed to keep it from sending.
"""

from __future__ import annotations

import os
from collections import defaultdict
from functools import partial

from loguru import logger

from enforcer import abi, cgroups, sockdiag
from enforcer.abi import Decision, EventKind
from enforcer.sockdiag import Flow

MOST_FLOWS = 256
"""Remembered for one workload between two rounds: more are dropped all the same, and wait."""


class Endings:
    """Flows that were refused since the last round, by workload."""

    def __init__(self) -> None:
        self._refused: dict[int, set[Flow]] = defaultdict(set)

    def note(self, event: abi.Event) -> None:
        """Take an event that was read; only a refused packet of a stream matters here."""
        if event.kind != EventKind.CONNECT or event.decision != Decision.DENIED:
            return
        # Without a local port it was connect(2), whose caller has its errno.
        flows = self._refused[event.workload]
        if event.net.local_port and len(flows) < MOST_FLOWS:
            flows.add(Flow(bytes(event.net.address), event.net.port, event.net.local_port))

    def round(self) -> int:
        """End what was refused; how many connections."""
        refused, self._refused = self._refused, defaultdict(set)
        count = 0
        for workload, flows in refused.items():
            path = cgroups.find(workload) if flows else None
            if path is None:
                continue
            # On the host's network another's connection may look the same from its far end.
            own = {cgroup for _, cgroup in cgroups.walk(path)}
            for namespace in _network_namespaces(path):
                try:
                    count += sockdiag.destroy(namespace, partial(_is_refused, flows, own))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    logger.error("workload {}: connections stay open: {}", path, error)
        return count


def _is_refused(flows: set[Flow], own: set[int], flow: Flow, cgroup: int) -> bool:
    return flow in flows and cgroup in own


def _network_namespaces(path: str) -> list[str]:
    """One path for each network namespace that the workload's processes are in."""
    found: dict[int, str] = {}
    for below, _ in cgroups.walk(path):
        try:
            pids = (cgroups.folder(below) / "cgroup.procs").read_text().split()
        except OSError:
            continue
        for pid in pids:
            name = f"/proc/{pid}/ns/net"
            try:
                found.setdefault(os.stat(name).st_ino, name)  # noqa: PTH116 (a link to no file)
            except FileNotFoundError:
                continue
    return list(found.values())
