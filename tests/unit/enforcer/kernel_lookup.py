# SPDX-License-Identifier: Apache-2.0
"""How the kernel programs find an answer in a compiled policy (bpf/shared.h), in Python."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from enforcer import abi
from enforcer.abi import Section
from enforcer.compiler import CompiledPolicy

BASE = abi.GRANT_BASE


@dataclass(frozen=True)
class Answer:
    """rule: the field path that decided, None without one."""

    allowed: bool
    rule: str | None = None


@dataclass(frozen=True)
class Lookup:
    """Answers for tasks that hold the bits `grants`."""

    compiled: CompiledPolicy
    grants: int = BASE

    def exec(self, path: bytes, *, changed: bool = False) -> Answer:
        """May the file at `path` start? The longest prefix of the path and its NUL decides."""
        if any_ := self._any(Section.EXEC):
            return any_
        found = {}
        for key, verdict in self.compiled.paths:
            text = bytes(key)[abi.PathKey.path.offset :][: (key.prefix_bits - 32) // 8]
            if (path + b"\0").startswith(text):
                found[text] = verdict
        if not found:
            return Answer(False)
        best = found[max(found, key=len)]
        if changed:
            best = abi.PathVerdict(best.allow & ~best.unchanged, 0, best.base_rule, best.grant_rule)
        return self._verdict(best)

    def map(self, path: bytes) -> Answer:
        """May the file at `path` become executable memory?"""
        if self.compiled.ruleset.mappings_any & self.grants:
            return Answer(True)
        return self.exec(path)

    def connect(self, address: str, port: int, protocol: int = 6) -> Answer:
        """May `address` be reached? Loopback is the caller's own network namespace's."""
        if any_ := self._any(Section.EGRESS):
            return any_
        head = self.compiled.ruleset
        parsed = ipaddress.ip_address(address)
        if isinstance(parsed, ipaddress.IPv4Address):
            parsed = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + parsed.packed)
        loopback = parsed.is_loopback or (parsed.ipv4_mapped or parsed).is_loopback
        if loopback and head.loopback & self.grants:
            return Answer(True, self.compiled.rules[head.loopback_rule])
        found: dict[int, abi.Destination] = {}
        for key, destination in self.compiled.destinations:
            bits = key.prefix_bits - 32
            shift = 128 - bits
            if int.from_bytes(bytes(key.address)) >> shift == int(parsed) >> shift:
                found[bits] = destination
        if not found:
            return Answer(False)
        best = found[max(found)]
        for allowed in best.ranges[: best.count]:
            if not allowed.grants & self.grants:
                continue
            if allowed.protocol in (0, protocol) and allowed.low <= port <= allowed.high:
                return Answer(True, self.compiled.rules[allowed.rule])
        return Answer(False)

    def reach(self, name: bytes) -> Answer:
        """May a unix socket that is not the workload's, bound to `name`, be reached?"""
        if any_ := self._any(Section.UNIX):
            return any_
        found = {}
        for key, verdict in self.compiled.unix_names:
            text = bytes(key)[abi.UnixKey.name.offset :][: (key.prefix_bits - 32) // 8]
            if (name + b"\0").startswith(text):
                found[text] = verdict
        return self._verdict(found[max(found, key=len)]) if found else Answer(False)

    def open_device(self, major: int, minor: int, *, block: bool = False) -> Answer:
        """May a node with these numbers be opened? The minor's own entry, then the major's."""
        if any_ := self._any(Section.DEVICES):
            return any_
        entries = {(k.block, k.major, k.minor): verdict for k, verdict in self.compiled.devices}
        for wanted in (minor, abi.ANY_MINOR):
            verdict = entries.get((int(block), major, wanted))
            if verdict is not None and verdict.allow & self.grants:
                return self._verdict(verdict)
        return Answer(False)

    def _any(self, section: Section) -> Answer | None:
        head = self.compiled.ruleset
        if head.any[section] & self.grants:
            return Answer(True, self.compiled.rules[head.any_rule[section]])
        return None

    def _verdict(self, found: abi.PathVerdict | abi.DeviceVerdict) -> Answer:
        held = found.allow & self.grants
        number = found.base_rule if held & BASE or not held else found.grant_rule
        return Answer(bool(held), self.compiled.rules[number] if number != abi.NO_RULE else None)
