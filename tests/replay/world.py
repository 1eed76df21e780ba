# SPDX-License-Identifier: Apache-2.0
"""The replay's world: network, far-side servers, GPU node and the agent's workspace."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.replay import mirror, namespaces, places, tunnel_host
from tests.replay.gpu import GpuNode
from tests.replay.listeners import RecordingListeners
from tests.replay.packets import PacketRecorder
from tests.replay.pool import Pool
from tests.replay.records import Entry


@dataclass(frozen=True)
class Mark:
    """A position in every far-side record."""

    packets: int
    connections: int
    tunnel: int
    pool: int
    requests: int
    gpu: int


@dataclass(frozen=True)
class Evidence:
    """What the far side saw between a mark and now; nothing in it comes from Lictor.

    ``packets``: frames from the sandbox; ``connections``: the recording listeners;
    ``tunnel``: counts from sshd's log; ``pool``, ``requests`` (of the mirror) and
    ``gpu`` (opens with their pid): entries of those servers.
    """

    packets: list[Entry]
    connections: list[Entry]
    tunnel: dict[str, int]
    pool: list[Entry]
    requests: list[Entry]
    gpu: list[Entry]

    def strays(self) -> list[Entry]:
        """The packets to any place but the mirror's own service."""
        allowed = (places.MIRROR_ADDRESS, places.MIRROR_PORT)
        return [entry for entry in self.packets if (entry["destination"], entry["port"]) != allowed]


class World:
    """All far-side records of a running world; made by ``build``."""

    def __init__(self, logs: Path, site: Path, tunnel_log: Path) -> None:
        self.packets = PacketRecorder(logs / "packets.jsonl")
        self.connections = _listeners(logs / "connections.jsonl")
        self.pool = Pool(logs / "pool.jsonl")
        self.pool.listen("outside", places.POOL_ADDRESS, places.POOL_PORT)
        self.pool.listen("mirror", places.MIRROR_ADDRESS, places.MIRROR_POOL_PORT)
        self.mirror = mirror.Mirror(site, logs / "mirror.jsonl")
        self.tunnel = tunnel_host.TunnelLog(tunnel_log)
        self.gpu = GpuNode(logs / "gpu.jsonl")

    def mark(self) -> Mark:
        """Close what came before with a fence and return the present positions."""
        self.packets.fence()
        return Mark(
            packets=self.packets.record.mark(),
            connections=self.connections.record.mark(),
            tunnel=self.tunnel.mark(),
            pool=self.pool.record.mark(),
            requests=self.mirror.record.mark(),
            gpu=self.gpu.record.mark(),
        )

    def since(self, mark: Mark) -> Evidence:
        """Everything that the far side saw since ``mark``, up to a fence sent now."""
        self.packets.fence()
        return Evidence(
            packets=self.packets.record.since(mark.packets),
            connections=self.connections.record.since(mark.connections),
            tunnel=tunnel_host.facts(self.tunnel.since(mark.tunnel)),
            pool=self.pool.record.since(mark.pool),
            requests=self.mirror.record.since(mark.requests),
            gpu=self.gpu.record.since(mark.gpu),
        )


def _listeners(log: Path) -> RecordingListeners:
    listeners = RecordingListeners(log)
    for address, port in places.INTERNAL_SERVICES:
        listeners.listen("internal", address, port)
    listeners.listen("outside", places.BEACON_ADDRESS, places.BEACON_TCP_PORT)
    listeners.receive("outside", places.BEACON_ADDRESS, places.BEACON_UDP_PORT)
    listeners.start()
    return listeners


@contextlib.contextmanager
def build(logs: Path) -> Iterator[World]:
    """Build the world, with every far-side log under ``logs``, and take it down again.

    The GPU node stays until this process ends. Errors: ``RuntimeError`` naming what
    could not be made; ``FileExistsError`` when the machine already has a workspace.
    """
    places.WORKSPACE.mkdir(mode=0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, places.WORKSPACE, ignore_errors=True)
        private = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="replay-")))
        identity = places.WORKSPACE / ".ssh" / "id_ed25519"
        identity.parent.mkdir(mode=0o700)
        tunnel_host.make_keys(private, identity)
        site = private / "site"
        site.mkdir()
        mirror.publish(site)
        stack.enter_context(namespaces.network())
        tunnel_log = logs / "sshd.log"
        stack.enter_context(tunnel_host.serve(private, tunnel_log))
        yield World(logs, site, tunnel_log)
