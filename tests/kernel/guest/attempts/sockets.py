# SPDX-License-Identifier: Apache-2.0
"""Ways to reach an address: each function is one attempt and raises OSError where it fails.

They go through libc with addresses as raw bytes, since Python's socket module would refuse or
rewrite what an attacker may hand to the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
from ctypes import POINTER, Structure, c_char_p, c_int, c_size_t, c_uint, c_void_p

IPPROTO_MPTCP = 262
TCP_FASTOPEN_CONNECT = 30
WORD = b"attempt"

_libc = ctypes.CDLL(None, use_errno=True)


class _Vector(Structure):
    _fields_ = (("base", c_char_p), ("length", c_size_t))


class _Message(Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", c_char_p), ("name_length", c_uint), ("vectors", POINTER(_Vector)),
        ("vector_count", c_size_t), ("control", c_void_p), ("control_length", c_size_t),
        ("flags", c_int),
    )  # fmt: skip


class _ManyMessage(Structure):
    """struct mmsghdr."""

    _fields_ = (("message", _Message), ("sent", c_uint))


def ipv4(address: str, port: int, family: int = socket.AF_INET) -> bytes:
    """struct sockaddr_in."""
    return struct.pack("=HH4s8x", family, socket.htons(port), socket.inet_aton(address))


def ipv6(address: str, port: int) -> bytes:
    """struct sockaddr_in6."""
    packed = socket.inet_pton(socket.AF_INET6, address)
    return struct.pack("=HHI16sI", socket.AF_INET6, socket.htons(port), 0, packed, 0)


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def raw_connect(descriptor: int, to: bytes, length: int | None = None) -> None:
    """connect(2) with any bytes as the address."""
    _checked(_libc.connect(descriptor, to, len(to) if length is None else length))


def raw_sendto(descriptor: int, data: bytes, flags: int, to: bytes) -> int:
    """sendto(2) with any bytes as the address."""
    return _checked(_libc.sendto(descriptor, data, len(data), flags, to, len(to)))


def stream(family: int, to: bytes, protocol: int = 0) -> None:
    """connect(2) and one word."""
    with socket.socket(family, socket.SOCK_STREAM, protocol) as client:
        raw_connect(client.fileno(), to)
        client.send(WORD)


def connected_datagram(family: int, to: bytes, protocol: int = 0) -> None:
    """connect(2) of a datagram socket, then a send without an address."""
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as client:
        raw_connect(client.fileno(), to)
        client.send(WORD)


def sendto(family: int, to: bytes, protocol: int = 0) -> None:
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as client:
        raw_sendto(client.fileno(), WORD, 0, to)


def _message(to: bytes) -> _Message:
    vector = _Vector(WORD, len(WORD))
    return _Message(to, len(to), ctypes.pointer(vector), 1, None, 0, 0)


def sendmsg(family: int, to: bytes) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        _checked(_libc.sendmsg(client.fileno(), ctypes.byref(_message(to)), 0))


def sendmmsg(family: int, to: bytes) -> None:
    """sendmmsg(2) with two messages to the same address."""
    messages = (_ManyMessage * 2)(_ManyMessage(_message(to), 0), _ManyMessage(_message(to), 0))
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        _checked(_libc.sendmmsg(client.fileno(), messages, 2, 0))


def fast_open(family: int, to: bytes, protocol: int = 0) -> None:
    """A TCP connection made by sendto(2): no connect(2) anywhere. ENOTCONN after two seconds."""
    with socket.socket(family, socket.SOCK_STREAM, protocol) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("=qq", 2, 0))
        # Where the far side's cookie is known, the word is queued whether or not it gets there;
        # and where it does not, the agent may have ended the connection by now.
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            raw_sendto(client.fileno(), WORD, socket.MSG_FASTOPEN, to)
        client.getpeername()


def deferred_fast_open(family: int, to: bytes) -> None:
    """connect(2) that only remembers the address; the first send connects."""
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        raw_connect(client.fileno(), to)
        client.send(WORD)


def raw(family: int, type_: int, protocol: int, address: str, data: bytes) -> None:
    """A socket that is given packets, as ping and scanners use it."""
    with socket.socket(family, type_, protocol) as client:
        client.sendto(data, (address, 0))


def frame(type_: int) -> None:
    """A link-layer frame of an experimental type on the link to the far side."""
    ethertype = 0x88B5
    with socket.socket(socket.AF_PACKET, type_, socket.htons(ethertype)) as client:
        if type_ == socket.SOCK_RAW:
            client.bind(("eth0", ethertype))
            client.send(b"\xff" * 12 + struct.pack("!H", ethertype) + WORD)
        else:
            client.sendto(WORD, ("eth0", ethertype, 0, 0, b"\xff" * 6))


def create(family: int, type_: int, protocol: int) -> None:
    """Only a socket."""
    socket.socket(family, type_, protocol).close()


def many(attempts: list[tuple[str, str, int]]) -> list[int]:
    """(protocol, address, port) each; for each 0 or the errno that it met."""
    results = []
    for protocol, address, port in attempts:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        to = (ipv6 if ":" in address else ipv4)(address, port)
        try:
            (stream if protocol == "tcp" else sendto)(family, to)
            results.append(0)
        except OSError as error:
            results.append(error.errno or -1)
    return results


def program(*words: str) -> str:
    """Start a program; what it printed. OSError with the errno that it ended with, if any."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(done.returncode, done.stderr.strip() or os.strerror(done.returncode))
    return done.stdout
