# SPDX-License-Identifier: Apache-2.0
"""Since when a connection is there: what tells its peer from whoever has the peer's pid by now."""

from __future__ import annotations

import socket
import time
from typing import Any, ClassVar


class TimedListener(socket.socket):
    """A listening socket that knows since when each of its connections is there.

    A pid is used again once its process is gone: whoever has the peer's pid now is the peer only
    if it started before the connection did.
    """

    since: ClassVar[dict[int, float]] = {}
    """Seconds since boot by file descriptor, of connections that are open."""

    def accept(self) -> tuple[socket.socket, Any]:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        connection, address = super().accept()
        self.since[connection.fileno()] = now
        return connection, address
