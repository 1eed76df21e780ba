# SPDX-License-Identifier: Apache-2.0
"""An agent that answers as it is told, on real sockets, for the commands that ask it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controlplane.contract.wire import FrameReader, RequestError, encode, failure, success

Operation = Callable[[dict[str, Any]], dict[str, Any]]


class FakeAgent:
    """Listens on `path`. requests: what it was asked, hang-ups included."""

    def __init__(self, path: Path, **operations: Operation) -> None:
        self.requests: list[dict[str, Any]] = []
        self._operations = {name.replace("_", "."): work for name, work in operations.items()}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._socket.bind(str(path))
        self._socket.listen()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """The requests of one operation, without what every request has."""
        common = ("version", "operation")
        return [
            {name: value for name, value in request.items() if name not in common}
            for request in self.requests
            if request["operation"] == operation
        ]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        frames = FrameReader()
        # Who asks may be killed before the answer.
        with connection, contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                for message in frames.feed(data):
                    self.requests.append(message)
                    connection.sendall(encode(self._reply(message)))
        self.requests.append({"operation": "(hung up)"})

    def _reply(self, message: dict[str, Any]) -> dict[str, Any]:
        work = self._operations.get(message["operation"])
        if work is None:
            return failure("unknown_operation", message["operation"])
        try:
            return success(**work(message))
        except RequestError as error:
            return failure(error.code, str(error))

    def close(self) -> None:
        """Stop listening; every request has been noted once this returns."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(10)
