# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of a socket is read as it is laid out; tests/kernel destroys real ones."""

from __future__ import annotations

import socket
import struct

import pytest

from enforcer import sockdiag
from enforcer.sockdiag import Flow


def message(family: int, address: str, *, cgroup: int | None = None) -> bytes:
    """A struct inet_diag_msg of a connection from port 40000 to port 443, and its attributes."""
    far = socket.inet_pton(family, address)
    identity = struct.pack("!HH", 40000, 443) + bytes(16) + far.ljust(16, b"\0") + bytes(12)
    made = struct.pack("=BBBB", family, 1, 0, 0) + identity + bytes(20)
    assert len(made) == sockdiag.MESSAGE_BYTES
    made += struct.pack("=HHBxxx", 5, 8, 1)  # another attribute, padded
    if cgroup is not None:
        made += struct.pack("=HHQ", 12, sockdiag.INET_DIAG_CGROUP_ID, cgroup)
    return made


@pytest.mark.parametrize(
    ("family", "address", "packed"),
    [
        (socket.AF_INET, "10.77.0.2", bytes(10) + b"\xff\xff\x0a\x4d\x00\x02"),
        (socket.AF_INET6, "::ffff:10.77.0.2", bytes(10) + b"\xff\xff\x0a\x4d\x00\x02"),
        (socket.AF_INET6, "fd77::2", b"\xfd\x77" + bytes(13) + b"\x02"),
    ],
)
def test_a_flow_is_named_as_in_events(family: int, address: str, packed: bytes) -> None:
    assert sockdiag.flow_of(message(family, address)) == Flow(packed, 443, 40000)


@pytest.mark.parametrize("cgroup", [None, 4711])
def test_the_cgroup_is_among_the_attributes(cgroup: int | None) -> None:
    found = sockdiag.cgroup_of(message(socket.AF_INET, "10.0.0.1", cgroup=cgroup))
    assert found == (cgroup or 0)


def test_a_namespace_that_is_gone_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        sockdiag.destroy("/proc/0/ns/net", lambda _flow, _cgroup: True)
