# SPDX-License-Identifier: Apache-2.0
"""The packet recorder at the router's end of the sandbox's link.

It reads every frame that arrives from the sandbox through an AF_PACKET socket in
the router's namespace: behind every hook of the sandbox's kernel path, before any
far-side server. Frames are taken in arrival order, so once the marker of ``fence``
has been seen, everything that the sandbox sent earlier has been seen too.
"""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path
from typing import Any

from tests.replay import namespaces
from tests.replay.places import EDGE, FENCE_ADDRESS, FENCE_PORT, SANDBOX, SANDBOX_LINK
from tests.replay.records import Entry, Record

ETH_P_ALL = 0x0003
ETH_P_IP = 0x0800
ETH_P_IPV6 = 0x86DD
PACKET_OUTGOING = 4
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}
SYN, ACK = 0x02, 0x10


def describe(ethertype: int, packet: bytes) -> Entry | None:
    """Name an IP packet's protocol, destination and port; None for other frames."""
    if ethertype == ETH_P_IPV6:
        address = socket.inet_ntop(socket.AF_INET6, packet[24:40])
        return {"protocol": "ipv6", "destination": address, "port": 0, "length": len(packet)}
    if ethertype != ETH_P_IP or len(packet) < 20:
        return None
    header = (packet[0] & 0x0F) * 4
    protocol = PROTOCOLS.get(packet[9], str(packet[9]))
    entry: Entry = {
        "protocol": protocol,
        "destination": socket.inet_ntoa(packet[16:20]),
        "port": 0,
        "length": struct.unpack_from("!H", packet, 2)[0],
    }
    transport = packet[header:]
    if protocol in ("tcp", "udp") and len(transport) >= 4:
        entry["port"] = struct.unpack_from("!H", transport, 2)[0]
    if protocol == "tcp" and len(transport) >= 14:
        entry["opens"] = transport[13] & (SYN | ACK) == SYN
    return entry


class PacketRecorder:
    """Records frames from the sandbox until the process ends."""

    def __init__(self, path: Path) -> None:
        self.record = Record(path)
        self._marker = namespaces.datagram(SANDBOX)
        self._fences = 0
        self._seen: set[bytes] = set()
        self._arrived = threading.Condition()
        self._socket = namespaces.inside(EDGE, self._open)
        threading.Thread(target=self._read, name="packets", daemon=True).start()

    @staticmethod
    def _open() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        made.bind((SANDBOX_LINK, ETH_P_ALL))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        return made

    def _read(self) -> None:
        while True:
            packet, source = self._socket.recvfrom(1 << 16)
            _link, ethertype, kind, *_rest = source
            if kind != PACKET_OUTGOING:
                self._take(ethertype, packet)

    def _take(self, ethertype: int, packet: bytes) -> None:
        entry = describe(ethertype, packet)
        if entry is None:
            return
        if (entry["destination"], entry["port"]) == (FENCE_ADDRESS, FENCE_PORT):
            with self._arrived:
                self._seen.add(packet[28:])
                self._arrived.notify_all()
            return
        self.record.add(**entry)

    def fence(self, timeout: float = 30.0) -> None:
        """Send a marker from the sandbox's namespace and wait until the recorder saw it.

        Errors: ``TimeoutError`` when the recorder does not see it: then it is blind,
        and an empty record would prove nothing.
        """
        self._fences += 1
        marker = b"fence %d" % self._fences
        self._marker.sendto(marker, (FENCE_ADDRESS, FENCE_PORT))
        with self._arrived:
            if not self._arrived.wait_for(lambda: marker in self._seen, timeout):
                raise TimeoutError(f"packet recorder on {SANDBOX_LINK}: marker not seen")


def destinations(entries: list[Entry]) -> list[dict[str, Any]]:
    """Fold packets into one line per protocol, destination and port, most packets first."""
    counts: dict[tuple[str, str, int], int] = {}
    for entry in entries:
        key = (entry["protocol"], entry["destination"], entry["port"])
        counts[key] = counts.get(key, 0) + 1
    folded = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"protocol": protocol, "destination": destination, "port": port, "packets": packets}
        for (protocol, destination, port), packets in folded
    ]
