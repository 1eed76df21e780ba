# SPDX-License-Identifier: Apache-2.0
"""The single values of a policy: names, cgroup and file paths, destinations, ports.

Each function takes plain data, returns the normalised value or raises ValueError with the cause.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

from .policy_faults import expected, shown

PATH_BYTES = 240
UNIX_NAME_BYTES = 108
EVERY_PORT = ((0, 65535),)

IPNetwork = IPv4Network | IPv6Network
Destination = Literal["loopback"] | IPNetwork
PortRange = tuple[int, int]

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_PORT = re.compile(r"(0|[1-9][0-9]{0,8})(?:-(0|[1-9][0-9]{0,8}))?")
_GLOB = re.compile(r"[*?]|\[[^]]+\]|\{[^}]*\}")
_MAPPED_BITS = 96


def text(value: object) -> str:
    if not isinstance(value, str):
        hint = " (to mean the text, put it in quotes)" if isinstance(value, (bool, int)) else ""
        raise expected(f"text{hint}", value)
    return value


def name(value: object) -> str:
    """An RFC 1123 label: what policies and grants are called."""
    label = text(value)
    if not _LABEL.fullmatch(label):
        raise ValueError(
            f"{shown(label)} is not a name: 1 to 63 of a-z, 0-9 and '-', no '-' at either end"
        )
    return label


def cgroup_pattern(value: object) -> str:
    """`/a/b`, `/a/b/*` or `/a/b/**`: see docs/policies.md for what each covers."""
    pattern = _path(value, "cgroup")
    base = cgroup_base(pattern)
    if _GLOB.search(base):
        raise ValueError(
            f"{shown(pattern)} is not built yet (cgroup globs in the middle of a path come with "
            "a later version); '/*' or '/**' may stand at the end"
        )
    if base in ("", "/", "/init.scope"):
        raise ValueError(
            f"{shown(pattern)} would cover the host itself, process 1 included: a denial there "
            "stops the machine; name a slice, for example /rl.slice/**"
        )
    return pattern


def cgroup_base(pattern: str) -> str:
    return pattern.removesuffix("/**").removesuffix("/*")


def exec_pattern(value: object) -> str:
    """A file, or a folder with `/**`: everything below it, at any depth."""
    pattern = _path(value, "path")
    glob = _GLOB.search(pattern.removesuffix("/**"))
    if glob is not None:
        raise ValueError(
            f"{shown(pattern)} is not built yet ({shown(glob.group())} inside a path comes with "
            "a later version); write one path, or a folder with '/**' for everything below it"
        )
    return pattern


def unix_pattern(value: object) -> str:
    """The name of a unix socket: its path, a folder with `/**`, or `@name` for an abstract one."""
    pattern = text(value)
    if pattern.startswith("@"):
        if not pattern.isprintable():
            raise ValueError(f"{shown(pattern)} holds characters that do not print")
        if pattern == "@":
            raise ValueError("'@' is no name: an abstract socket is '@' and its name")
    elif not pattern.startswith("/"):
        raise ValueError(
            f"{shown(pattern)} is not a socket's name: a path starts with '/', an abstract name"
            " with '@' (in quotes)"
        )
    else:
        pattern = exec_pattern(pattern)
    glob = _GLOB.search(pattern.removesuffix("/**"))
    if glob is not None:
        raise ValueError(f"{shown(pattern)} is not built yet: only '/**' may stand, at the end")
    size = len(pattern.removesuffix("**").encode("utf-8"))
    if size > UNIX_NAME_BYTES:
        raise ValueError(f"{shown(pattern)} has {size} bytes, the limit is {UNIX_NAME_BYTES}")
    return pattern


def _path(value: object, kind: str) -> str:
    path = text(value)
    if not path.startswith("/"):
        raise ValueError(f"{shown(path)} is not absolute: a {kind} starts with '/'")
    if not path.isprintable():
        raise ValueError(f"{shown(path)} holds characters that do not print")
    size = len(path.encode("utf-8"))
    if size > PATH_BYTES:
        raise ValueError(f"{shown(path)} has {size} bytes, the limit is {PATH_BYTES}")
    components = path.split("/")[1:]
    if path != "/" and "" in components:
        cause = "ends in '/'" if "" not in components[:-1] else "has an empty component ('//')"
        raise ValueError(f"{shown(path)} {cause}: write '/**' for everything below a folder")
    if path == "/" and kind == "path":
        raise ValueError("'/' is a folder: write '/**' for everything below it")
    for component in (".", ".."):
        if component in components:
            raise ValueError(f"{shown(path)} has {component!r} in it: write the path without")
    return path


def destination(value: object) -> Destination:
    """`loopback`, an address or a network; a v4-mapped one becomes the IPv4 network it means."""
    written = text(value)
    if written == "loopback":
        return "loopback"
    address_text, slash, length_text = written.partition("/")
    address = _address(address_text)
    if address is None:
        raise ValueError(_not_an_address(written, bool(slash)))
    length: int = address.max_prefixlen
    if slash:
        if not (length_text.isascii() and length_text.isdigit() and len(length_text) <= 3):
            raise ValueError(f"{shown(written)} is not a network: the part after '/' is a length")
        if int(length_text) > length:
            raise ValueError(f"{shown(written)} is not a network: the longest prefix is /{length}")
        length = int(length_text)
    network: IPNetwork
    if isinstance(address, IPv6Address):
        network = IPv6Network((address, length), strict=False)
        mapped = address.ipv4_mapped
        if mapped is not None and length >= _MAPPED_BITS:
            address, length = mapped, length - _MAPPED_BITS
            network = IPv4Network((address, length), strict=False)
    else:
        network = IPv4Network((address, length), strict=False)
    if network.network_address != address:
        raise ValueError(f"{shown(written)} has host bits set: the network is {network}")
    return network


def source(value: object) -> IPNetwork:
    """An address or a network from which somebody connects."""
    found = destination(value)
    if found == "loopback":
        raise ValueError(
            "'loopback' needs no rule: within a network namespace of its own a workload always"
            " reaches itself; for the host's loopback write 127.0.0.0/8"
        )
    return found


def _address(written: str) -> IPv4Address | IPv6Address | None:
    for family in (IPv4Address, IPv6Address):
        try:
            address = family(written)
        except ValueError:
            continue
        # A zone (fe80::1%eth0) names an interface of this host, which means nothing inside.
        return None if getattr(address, "scope_id", None) is not None else address
    return None


def _not_an_address(written: str, is_network: bool) -> str:
    kind = "network" if is_network else "address"
    if "%" in written:
        return f"{shown(written)} is not an {kind}: leave the zone ('%…') out"
    if written in ("any", "*", "all"):
        return f"{shown(written)} is not an address: every address is 0.0.0.0/0 and ::/0"
    if written == "localhost":
        return "'localhost' is not an address: write loopback"
    if _HOST_NAME.fullmatch(written) and re.search("[A-Za-z]", written):
        return f"{shown(written)} is not built yet: names come with a later version; use an address"
    article = "an" if kind == "address" else "a"
    return f"{shown(written)} is not {article} {kind}"


def port_range(value: object) -> PortRange:
    """443 or '8000-8010' as (low, high), both included."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise expected("a port or a range such as 8000-8010", value)
    match = _PORT.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and match is None:
        raise ValueError(f"{shown(value)} is not a port or a range such as 8000-8010")
    low = value if isinstance(value, int) else int(match.group(1)) if match else 0
    high = int(match.group(2)) if match and match.group(2) else low
    if not (1 <= low <= 65535 and 1 <= high <= 65535):
        raise ValueError(f"{shown(value)} is outside the ports 1 to 65535")
    if low > high:
        raise ValueError(f"{shown(value)} runs backwards: write {high}-{low}")
    return low, high


def merged(ranges: list[PortRange]) -> tuple[PortRange, ...]:
    """Sorted, with overlapping and adjacent ranges joined."""
    result: list[PortRange] = []
    for low, high in sorted(ranges):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], high))
        else:
            result.append((low, high))
    return tuple(result)
