# SPDX-License-Identifier: Apache-2.0
"""A connection is older than whoever is given its peer's pid later."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from controlplane.contract.timedlistener import TimedListener


def test_a_connection_is_known_to_be_there_since_it_was_accepted(tmp_path: Path) -> None:
    path = str(tmp_path / "api.sock")
    with TimedListener(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            connection, _ = listener.accept()
            with connection:
                since = TimedListener.since[connection.fileno()]
    assert before <= since <= time.clock_gettime(time.CLOCK_BOOTTIME)
