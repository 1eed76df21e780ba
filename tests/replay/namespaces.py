# SPDX-License-Identifier: Apache-2.0
"""Network namespaces of the replay: made, linked through the router, entered, removed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tests.replay.places import EDGE, HOSTS, Host

CLONE_NEWNET = 0x40000000
Result = TypeVar("Result")


def _ip(*arguments: str, batch: str | None = None) -> None:
    command = ["ip", *arguments]
    done = subprocess.run(command, input=batch, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


def _in_edge(hosts: tuple[Host, ...]) -> str:
    lines = ["link set lo up"]
    for host in hosts:
        # No link-local IPv6: its neighbour chatter would count as packets of the sandbox.
        lines += [
            f"link add {host.link} type veth peer name eth0 netns {host.name}",
            f"link set {host.link} addrgenmode none",
            f"link set {host.link} up",
            f"address add {host.gateway}/24 dev {host.link}",
        ]
    return "\n".join(lines) + "\n"


def _in_host(host: Host) -> str:
    lines = ["link set lo up", "link set eth0 addrgenmode none"]
    lines += [f"address add {address} dev eth0" for address in host.addresses]
    lines += ["link set eth0 up", f"route add default via {host.gateway}"]
    return "\n".join(lines) + "\n"


def remove() -> None:
    """Remove every namespace of the replay that exists; links go with them."""
    for name in (EDGE, *(host.name for host in HOSTS)):
        if Path(f"/run/netns/{name}").exists():
            _ip("netns", "delete", name)


@contextlib.contextmanager
def network() -> Iterator[None]:
    """Build the world's network and remove it at the end.

    Errors: ``RuntimeError`` naming the ``ip`` command that failed.
    """
    remove()
    try:
        for name in (EDGE, *(host.name for host in HOSTS)):
            _ip("netns", "add", name)
        _ip("-netns", EDGE, "-batch", "-", batch=_in_edge(HOSTS))
        for host in HOSTS:
            _ip("-netns", host.name, "-batch", "-", batch=_in_host(host))
        inside(EDGE, _forward)
        yield
    finally:
        remove()


def _forward() -> None:
    # /proc/sys/net shows the network namespace of the thread that opens it.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")


def inside(namespace: str, action: Callable[[], Result]) -> Result:
    """Run ``action`` on a fresh thread that has entered ``namespace``; sockets keep it.

    Errors: whatever ``action`` raises, and ``OSError`` naming the namespace.
    """

    def enter_and_act() -> Result:
        _enter(namespace)
        return action()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter_and_act).result()


def _enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(handle, CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"network namespace {namespace}: {os.strerror(error)}")
    finally:
        os.close(handle)


def listener(namespace: str, address: str, port: int) -> socket.socket:
    """A TCP socket that listens inside ``namespace``."""
    return inside(namespace, lambda: socket.create_server((address, port), backlog=64))


def datagram(namespace: str, address: str | None = None, port: int = 0) -> socket.socket:
    """A UDP socket of ``namespace``, bound where an address is given."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if address is not None:
            made.bind((address, port))
        return made

    return inside(namespace, make)
