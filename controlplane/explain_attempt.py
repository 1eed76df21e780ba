# SPDX-License-Identifier: Apache-2.0
"""What an event says was attempted, as values that rules can be held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Literal

from controlplane.contract.event import SCHEMA_VERSION, exact_bytes
from controlplane.contract.policy_devices import GPU_MAJORS, DeviceKind

SectionName = Literal["egress", "ingress", "exec", "devices", "unix"]


@dataclass(frozen=True)
class Connection:
    """A connect or an addressed send. `protocol` as the rules know it where they do."""

    address: IPv4Address | IPv6Address
    protocol: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """As bpf/egress.c has it: Linux sends the unspecified address to loopback, too."""
        return self.address.is_loopback or self.address.is_unspecified


class Visit(Connection):
    """The same from outside: `address` is the visitor's, `port` the workload's own."""


@dataclass(frozen=True)
class Unaddressed:
    """A socket that egress rules cannot judge by address."""


@dataclass(frozen=True)
class Program:
    """A file that was to be started; `path` holds the exact bytes. mapped: as executable memory."""

    path: bytes
    mapped: bool = False


@dataclass(frozen=True)
class Device:
    """A device node that was to be opened. driver: the GPU driver that has the number, if any."""

    kind: DeviceKind
    major: int
    minor: int
    driver: str | None

    @property
    def is_gpu(self) -> bool:
        return self.kind == "char" and (self.driver is not None or self.major in GPU_MAJORS)

    def __str__(self) -> str:
        return f"{self.kind} {self.major}:{self.minor}"


@dataclass(frozen=True)
class Peer:
    """A unix socket of the host or another workload; `name` as it was bound, exactly."""

    name: bytes


@dataclass(frozen=True)
class Crossing:
    """An act on what is not the workload's own. guard: what keeps it from that."""

    guard: str


@dataclass(frozen=True)
class Happening:
    """What no section of a policy judges: escape, fork, begin and end of a workload."""


Attempt = Connection | Unaddressed | Program | Device | Peer | Crossing | Happening


def section_of(attempt: Attempt) -> SectionName | None:
    """The section of a policy that judges such attempts."""
    match attempt:
        case Visit():
            return "ingress"
        case Connection() | Unaddressed():
            return "egress"
        case Program():
            return "exec"
        case Device():
            return "devices"
        case Peer():
            return "unix"
    return None


def attempt_of(event: Mapping[str, Any]) -> Attempt:
    """Raises ValueError that names the field where the event is not one of schema 1."""
    if event.get("version") != SCHEMA_VERSION:
        raise ValueError(f"version: {event.get('version')!r} is not {SCHEMA_VERSION}")
    try:
        return _attempt(str(event["kind"]), event["object"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"object: is not one of kind {event.get('kind')!r}: {error}") from None


def _attempt(kind: str, what: Mapping[str, Any]) -> Attempt:
    match kind:
        case "connect" | "send":
            return Connection(*_other_end(what), int(what["port"]))
        case "inbound":
            return Visit(*_other_end(what), int(what["local_port"]))
        case "socket":
            return Unaddressed()
        case "exec" | "mapping":
            return Program(exact_bytes(dict(what), "path"), mapped=kind == "mapping")
        case "unix":
            return Peer(exact_bytes(dict(what), "path"))
        case "device":
            device_kind: DeviceKind = "block" if what["type"] == "block" else "char"
            return Device(device_kind, int(what["major"]), int(what["minor"]), what["class"])
        case "guard":
            return Crossing(str(what["guard"]))
    return Happening()


def _other_end(what: Mapping[str, Any]) -> tuple[IPv4Address | IPv6Address, str]:
    address = ip_address(what["address"])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    # Multipath TCP counts as TCP: bpf/egress.c.
    protocol = "tcp" if what["protocol"] == "mptcp" else str(what["protocol"])
    return address, protocol
