# SPDX-License-Identifier: Apache-2.0
"""Servers that an attempt runs inside a workload: they wait for one visitor and say what he said.

Each makes the file `ready` once it can be reached, and gives None if nobody came in time.
"""

from __future__ import annotations

import socket
from pathlib import Path

WAIT_SECONDS = 6.0


def tcp(address: str, port: int, ready: str) -> str | None:
    """Accepts one connection, reads from it and says it back in capitals."""
    with socket.create_server((address, port)) as server:
        server.settimeout(WAIT_SECONDS)
        Path(ready).touch()
        try:
            connection, _ = server.accept()
        except TimeoutError:
            return None
        with connection:
            connection.settimeout(WAIT_SECONDS)
            said = connection.recv(100)
            connection.sendall(said.upper())
            return said.decode()


def echo(address: str, port: int, ready: str) -> None:
    """Answers one visitor in capitals, as long as he speaks."""
    with socket.create_server((address, port)) as server:
        Path(ready).touch()
        connection, _ = server.accept()
        with connection:
            while said := connection.recv(100):
                connection.sendall(said.upper())


def udp(address: str, port: int, ready: str) -> str | None:
    """Answers one datagram in capitals."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, port))
        server.settimeout(WAIT_SECONDS)
        Path(ready).touch()
        try:
            said, sender = server.recvfrom(100)
        except TimeoutError:
            return None
        server.sendto(said.upper(), sender)
        return said.decode()


def speak_first(address: str, port: int, ready: str, to: tuple[str, int]) -> int:
    """A UDP server that sends before anybody came; what it met."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, port))
        Path(ready).touch()
        try:
            server.sendto(b"unasked", to)
        except OSError as error:
            return error.errno or -1
    return 0
