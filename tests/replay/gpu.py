# SPDX-License-Identifier: Apache-2.0
"""The replay's GPU: a node at 195:0 that really opens, and a record of who opened it."""

from __future__ import annotations

from pathlib import Path

from tests.cuse import DeviceNode
from tests.replay.places import GPU_MAJOR, GPU_MINOR, GPU_NODE
from tests.replay.records import Record


class GpuNode:
    """Serves the node from construction on; ``record`` has one entry per open, with its pid."""

    def __init__(self, path: Path) -> None:
        self.record = Record(path)
        self._node = DeviceNode(GPU_NODE.name, GPU_MAJOR, GPU_MINOR, self._opened)

    def _opened(self, pid: int) -> None:
        self.record.add(event="open", pid=pid)

    def close(self) -> None:
        """Take the node away."""
        self._node.close()
