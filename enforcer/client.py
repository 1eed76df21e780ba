# SPDX-License-Identifier: Apache-2.0
"""A blocking client of the enforcer's sockets, for the CLI and for executors.

Light on purpose: `lictor run` and `lictor call exec` stand before every command they start.
"""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Any

from controlplane.contract.wire import PROTOCOL_VERSION, FrameReader, RequestError, encode


class EnforcerUnavailable(OSError):
    """Nothing answers on the socket; str says what to do."""


class EnforcerClient:
    """One connection. Replies come in the order of requests."""

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._frames = FrameReader()
        try:
            self._socket.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            self._socket.close()
            raise EnforcerUnavailable(f"{path}: no agent answers; start it: lictor up") from None
        except PermissionError:
            self._socket.close()
            raise EnforcerUnavailable(f"{path}: permission denied; run as root") from None

    def request(self, operation: str, **fields: Any) -> dict[str, Any]:
        """Send one request and return its reply's fields. RequestError if it is refused."""
        message = {"version": PROTOCOL_VERSION, "operation": operation, **fields}
        self._socket.sendall(encode(message))
        while True:
            data = self._socket.recv(1 << 16)
            if not data:
                raise EnforcerUnavailable(f"the agent closed the connection on {operation}")
            for reply in self._frames.feed(data):
                if reply.get("ok"):
                    return reply
                error = reply.get("error") or {}
                raise RequestError(
                    str(error.get("code", "unknown")), str(error.get("message", "no reason given"))
                )

    def close(self) -> None:
        """Close the connection; held calls end with it."""
        self._socket.close()

    def __enter__(self) -> EnforcerClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
