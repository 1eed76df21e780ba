# SPDX-License-Identifier: Apache-2.0
"""What a frame at the far side was: protocol, destination, port and data. Pure."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
SYN, ACK = 0x02, 0x10
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 136: "udplite"}
HOP_BY_HOP = 0
# Router and neighbour discovery, and multicast listeners' reports.
NEIGHBOUR_TYPES = (*range(130, 138), 143)


@dataclass(frozen=True)
class Packet:
    """One packet: data after the TCP or UDP header; port 0, data after the IP header, else.

    request: what a TCP connection request and its retransmissions have in common.
    """

    protocol: str
    address: str
    port: int
    data: bytes
    request: bytes | None = field(default=None, compare=False, repr=False)


def parse(ethertype: int, frame: bytes) -> Packet | None:
    """The packet in a frame, or None for what a kernel sends by itself."""
    if ethertype == ETH_P_IP:
        header = (frame[0] & 0x0F) * 4
        address = socket.inet_ntoa(frame[16:20])
        # Ethernet pads short frames.
        (length,) = struct.unpack_from("!H", frame, 2)
        return _parse(frame[9], address, frame[header:length])
    if ethertype == ETH_P_IPV6:
        (length,) = struct.unpack_from("!H", frame, 4)
        address = socket.inet_ntop(socket.AF_INET6, frame[24:40])
        return _parse(frame[6], address, frame[40 : 40 + length])
    if ethertype == ETH_P_ARP:
        return None
    return Packet(f"ethertype {ethertype:#06x}", "", 0, frame)


def _parse(number: int, address: str, body: bytes) -> Packet | None:
    if number == HOP_BY_HOP or (number == 58 and body[0] in NEIGHBOUR_TYPES):
        return None
    protocol = PROTOCOLS.get(number, str(number))
    if protocol == "tcp":
        if body[13] & (SYN | ACK) != SYN:
            return None
        # Ports and first sequence number.
        request = address.encode() + body[:8]
        return Packet(protocol, address, _port(body), body[(body[12] >> 4) * 4 :], request)
    if protocol in ("udp", "udplite"):
        return Packet(protocol, address, _port(body), body[8:])
    return Packet(protocol, address, 0, body)


def _port(body: bytes) -> int:
    (port,) = struct.unpack_from("!H", body, 2)
    return int(port)
