# SPDX-License-Identifier: Apache-2.0
"""Where a control plane is reached: a Unix socket, or https; plain http on this machine only."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Endpoint:
    """url: scheme, host and port, without a path. socket: the path of a Unix socket, or None."""

    url: str
    socket: str | None = None

    def __str__(self) -> str:
        return self.url if self.socket is None else f"unix:{self.socket}"

    def tls(self, ca_file: Path | None) -> ssl.SSLContext | None:
        """What an https server's certificate is checked with; the system's authorities by default.

        Raises OSError or ValueError that names a file that cannot be used.
        """
        if not self.url.startswith("https:"):
            return None
        if ca_file is None:
            return ssl.create_default_context()
        with ca_file.open("rb"):
            pass
        try:
            return ssl.create_default_context(cafile=str(ca_file))
        except ssl.SSLError as error:
            raise ValueError(f"{ca_file}: holds no certificate: {error.reason or error}") from None


def parse_endpoint(text: str) -> Endpoint:
    """`unix:/PATH`, `https://HOST[:PORT]`, or `http://` to a loopback address or `localhost`.

    Raises ValueError that names what is wrong.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"{text!r}: the path of a Unix socket starts with '/'")
        return Endpoint("http://lictor", path)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{text!r} is not unix:PATH or https://HOST:PORT")
    if parts.username or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{text!r}: only a host and a port may follow {parts.scheme}://")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise ValueError(f"{text!r}: a token would cross the network in the clear: use https")
    shown = f"[{host}]" if ":" in host else host
    return Endpoint(f"{parts.scheme}://{shown}" + (f":{port}" if port else ""))


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
