# SPDX-License-Identifier: Apache-2.0
"""A GPU driver's device nodes without a GPU: they open for whoever the kernel lets through."""

from __future__ import annotations

import threading

from tests.cuse import DeviceNode

# What a GPU's driver has: name, major (0: given at load time), minor.
GPU_NODES = {
    "nvidia0": (195, 0),
    "nvidia1": (195, 1),
    "nvidiactl": (195, 255),
    "nvidia-uvm": (0, 0),
    "nvidia-caps": (0, 1),
}


class CountedNode(DeviceNode):
    """A device that counts how often it was really opened."""

    def __init__(self, name: str, major: int, minor: int) -> None:
        self._opens = 0
        self._lock = threading.Lock()
        super().__init__(name, major, minor, self._count)

    def _count(self, _pid: int) -> None:
        with self._lock:
            self._opens += 1

    def opens(self) -> int:
        """How often it was opened since the last call."""
        with self._lock:
            count, self._opens = self._opens, 0
        return count
