# SPDX-License-Identifier: Apache-2.0
"""Far-side listeners: TCP servers that record each connection and its bytes, and a UDP one."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from pathlib import Path

from tests.replay import namespaces
from tests.replay.records import Record

ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


class RecordingListeners:
    """Any number of listening sockets, served by one thread.

    Each accepted connection gets an entry ``accepted``; the first bytes on it get an
    entry ``received`` with their count, one canned answer, and the connection closes.
    """

    def __init__(self, path: Path) -> None:
        self.record = Record(path)
        self._selector = selectors.DefaultSelector()

    def listen(self, namespace: str, address: str, port: int) -> None:
        """Add a TCP listener; call before ``start``."""
        self._add(namespaces.listener(namespace, address, port), "listen", (address, port))

    def receive(self, namespace: str, address: str, port: int) -> None:
        """Add a UDP receiver; call before ``start``."""
        self._add(namespaces.datagram(namespace, address, port), "datagram", (address, port))

    def start(self) -> None:
        threading.Thread(target=self._serve, name="listeners", daemon=True).start()

    def _add(self, made: socket.socket, duty: str, place: tuple[str, int]) -> None:
        made.setblocking(False)
        self._selector.register(made, selectors.EVENT_READ, (duty, place))

    def _serve(self) -> None:
        while True:
            for key, _events in self._selector.select():
                duty, place = key.data
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                with contextlib.suppress(BlockingIOError):
                    self._handle(ready, duty, place)

    def _handle(self, ready: socket.socket, duty: str, place: tuple[str, int]) -> None:
        address, port = place
        if duty == "listen":
            connection, peer = ready.accept()
            self.record.add(event="accepted", address=address, port=port, peer=peer[0])
            self._add(connection, "connection", place)
        elif duty == "datagram":
            data, peer = ready.recvfrom(1 << 16)
            self.record.add(
                event="datagram", address=address, port=port, peer=peer[0], bytes=len(data)
            )
        else:
            self._finish(ready, address, port)

    def _finish(self, connection: socket.socket, address: str, port: int) -> None:
        self._selector.unregister(connection)
        with connection, contextlib.suppress(ConnectionError):
            data = connection.recv(1 << 16)
            if data:
                self.record.add(event="received", address=address, port=port, bytes=len(data))
                connection.sendall(ANSWER)
