# SPDX-License-Identifier: Apache-2.0
"""The mining pool: stratum sessions over TCP, every step of a miner on record."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from tests.replay import namespaces
from tests.replay.records import Record
from tests.replay.stratum import LONGEST_LINE, PoolSession


class Pool:
    """Serves each listening socket with a thread, and each miner with one of its own.

    ``record`` has entries ``connected``, ``subscribe``, ``authorize``, ``share accepted``,
    ``share refused`` and ``malformed``, each with the pool's address and port.
    """

    def __init__(self, path: Path) -> None:
        self.record = Record(path)
        self._sessions = 0

    def listen(self, namespace: str, address: str, port: int) -> None:
        """Listen in ``namespace`` and serve."""
        made = namespaces.listener(namespace, address, port)
        place = f"{address}:{port}"
        name = f"pool-{place}"
        threading.Thread(target=self._accept, args=(made, place), name=name, daemon=True).start()

    def _accept(self, made: socket.socket, place: str) -> None:
        while True:
            connection, peer = made.accept()
            self._sessions += 1
            self.record.add(event="connected", pool=place, peer=peer[0])
            session = PoolSession(extranonce1=f"{self._sessions:08x}")
            arguments = (connection, session, place)
            name = f"miner-{self._sessions}"
            threading.Thread(target=self._talk, args=arguments, name=name, daemon=True).start()

    def _talk(self, connection: socket.socket, session: PoolSession, place: str) -> None:
        with connection, connection.makefile("rb") as lines:
            try:
                while line := lines.readline(LONGEST_LINE):
                    replies = session.receive(line)
                    for fact in session.facts:
                        self.record.add(pool=place, **fact)
                    session.facts.clear()
                    connection.sendall(b"".join(replies))
            except ConnectionError as failure:
                self.record.add(event="lost", pool=place, reason=failure.strerror)
