# SPDX-License-Identifier: Apache-2.0
"""What an event attempted, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXT_LIMIT = 200
SOCKET_FAMILIES = {"16": "netlink", "17": "packet", "40": "vsock"}


def target(event: Mapping[str, Any]) -> str:
    """What was attempted upon: an address, a program, a device."""
    what: Mapping[str, Any] = event["object"]
    match event["kind"]:
        case "connect" | "send":
            text = _address(what)
        case "inbound":
            text = f"port {what.get('local_port')} from {_address(what)}"
        case "socket":
            family = str(what.get("family"))
            text = f"{SOCKET_FAMILIES.get(family, family)} socket ({what.get('type')})"
        case "exec" | "mapping" | "unix":
            text = str(what.get("path"))
        case "device":
            number = f"{what.get('major')}:{what.get('minor')}"
            text = f"GPU {number}" if what.get("class") else f"{what.get('type')} device {number}"
        case "guard":
            text = _crossing(what)
        case "escape":
            text = "out of the workload's cgroup"
        case "exempt" | "exempt_end":
            text = str(what.get("reason"))
        case kind:
            text = str(kind)
    return visible(text)


def lead(event: Mapping[str, Any]) -> str:
    """How an incident's title begins when this is its first event."""
    what = target(event)
    match event["kind"]:
        case "connect":
            return f"connect to {what}"
        case "send":
            return f"send to {what}"
        case "inbound":
            return f"connection to {what}"
        case "exec":
            return f"exec of {what}"
        case "mapping":
            return f"executable mapping of {what}"
        case "device":
            return f"open of {what}"
        case "unix":
            return f"reach for unix socket {what}"
        case "guard":
            return f"{what} ({visible(str(event['object'].get('guard')))} guard)"
        case "escape":
            return "process left its workload's cgroup"
        case "exempt":
            return f"workload exempted: {what}"
        case "exempt_end":
            return f"exemption ended: {what}"
        case _:
            return what


def subject(event: Mapping[str, Any]) -> str:
    """Which process it was."""
    who: Mapping[str, Any] = event["subject"]
    return f"{visible(str(who.get('comm', '?')))} (pid {who['pid']}, uid {who.get('uid', '?')})"


def rule(event: Mapping[str, Any]) -> str:
    """What decided."""
    why = event["rule"] or event["reason"]
    return visible(f"{event['policy']}#{event['revision']}: {why}")


def visible(text: str) -> str:
    """Text on one line that looks like what it is.

    A program chose it: line ends, terminal sequences and marks that turn the direction of
    writing are spelled out, and what is long is cut.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _spelled(c) for c in text)
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _crossing(what: Mapping[str, Any]) -> str:
    text = str(what.get("operation"))
    if what.get("detail") is not None:
        text += f" {what['detail']}"
    if what.get("target") is not None:
        text += f" of process {what['target']}"
    return text


def _address(what: Mapping[str, Any]) -> str:
    address = str(what.get("address"))
    if ":" in address:
        address = f"[{address}]"
    protocol = what.get("protocol")
    return f"{address}:{what.get('port')}" + ("" if protocol == "tcp" else f"/{protocol}")
