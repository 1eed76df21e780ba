# SPDX-License-Identifier: Apache-2.0
"""Where the API is served: Unix sockets, loopback, and other addresses with TLS only."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from aiohttp import web

from controlplane.contract.timedlistener import TimedListener

# Anyone may connect: who may do what is decided by the peer's user or by a token.
SOCKET_MODE = 0o666
# What sun_path holds, less the zero at its end: unix(7).
MAXIMUM_SOCKET_PATH = 107
BACKLOG = 1024

_PORT_ADDRESS = re.compile(r"(?:\[(?P<six>[^]]+)\]|(?P<four>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class UnixAddress:
    """A Unix socket; `local` by nature."""

    path: Path
    local: bool = True

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True)
class PortAddress:
    """A TCP port of one address."""

    address: IPv4Address | IPv6Address
    port: int

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it. A v4-mapped address never counts as such."""
        return self.address.is_loopback and getattr(self.address, "ipv4_mapped", None) is None

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


Address = UnixAddress | PortAddress


def parse_listen(text: str) -> list[Address]:
    """The addresses of a `listen` setting; ValueError names the one that is wrong."""
    addresses = [_parse(part.strip()) for part in text.split(",")]
    for index, address in enumerate(addresses):
        if address in addresses[:index]:
            raise ValueError(f"{address} is named twice")
    return addresses


def _parse(text: str) -> Address:
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise ValueError(f"{text!r}: the path of a Unix socket starts with '/'")
        if len(os.fsencode(path)) > MAXIMUM_SOCKET_PATH:
            raise ValueError(f"{text!r}: the path is longer than {MAXIMUM_SOCKET_PATH} bytes")
        return UnixAddress(path)
    match = _PORT_ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not unix:PATH, ADDRESS:PORT or [ADDRESS]:PORT")
    try:
        address = ip_address(match["six"] or match["four"])
    except ValueError:
        raise ValueError(f"{text!r}: listen on an address, not on a name") from None
    if (address.version == 6) != (match["six"] is not None):
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, an IPv4 address does not")
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise ValueError(f"{text!r}: {port} is outside the ports 1 to 65535")
    return PortAddress(address, port)


def server_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS as a server. Raises OSError or ValueError that names the file that cannot be used."""
    for file in (certificate, key):
        with file.open("rb"):
            pass
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key with a passphrase is refused: nobody is there to be asked for it.
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except ssl.SSLError as error:
        cause = error.reason or error
        raise ValueError(f"TLS certificate {certificate} with key {key}: {cause}") from None
    return context


def _no_passphrase() -> str:
    raise ValueError("the TLS key has a passphrase: give a key without one")


async def start_site(
    runner: web.AppRunner, address: Address, tls: ssl.SSLContext | None
) -> web.BaseSite:
    """Listen on one address. A socket that nobody serves any more is replaced."""
    if isinstance(address, PortAddress):
        site: web.BaseSite = web.TCPSite(
            runner, str(address.address), address.port, ssl_context=tls, backlog=BACKLOG
        )
        await site.start()
        return site
    folder = address.path.parent
    if not folder.is_dir():
        folder.mkdir(parents=True)
        # The process's umask is not for this folder: who may connect is the socket's mode.
        folder.chmod(0o755)
    _remove_left_over(address.path)
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        listener = TimedListener(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(address.path))
    finally:
        os.umask(before)
    unix_site = web.SockSite(runner, listener, backlog=BACKLOG)
    await unix_site.start()
    return unix_site


def _remove_left_over(path: Path) -> None:
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, f"{path}: another process serves this socket")
