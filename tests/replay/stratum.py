# SPDX-License-Identifier: Apache-2.0
"""Stratum v1 as a mining pool speaks it, without sockets: lines in, lines and facts out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

# The target of difficulty 1 on the Bitcoin network; the target falls as 1 / difficulty.
DIFFICULTY_ONE = 0xFFFF << 208
# About 4,096 hashes a share: a moment of work, also on an emulated processor.
DIFFICULTY = 2**-20
EXTRANONCE2_SIZE = 4
LONGEST_LINE = 4096


def sha256d(data: bytes) -> bytes:
    """SHA-256 applied twice, as block headers and transactions are hashed."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


@dataclass(frozen=True)
class Job:
    """One unit of work; every field is hexadecimal as it goes over the wire."""

    identifier: str = "1"
    previous: str = "00" * 28 + "5eed0001"
    coinbase_head: str = "01000000010000000000000000"
    coinbase_tail: str = "ffffffff0100f2052a01000000"
    branches: tuple[str, ...] = ("a5" * 32,)
    version: str = "20000000"
    bits: str = "1d00ffff"
    time: str = "68e0a000"

    def parameters(self) -> list[Any]:
        """The params of mining.notify."""
        return [
            self.identifier,
            self.previous,
            self.coinbase_head,
            self.coinbase_tail,
            list(self.branches),
            self.version,
            self.bits,
            self.time,
            True,
        ]

    def header(self, extranonce1: str, extranonce2: str, time: str, nonce: str) -> bytes:
        """The 80 bytes that a share hashes. Errors: ``ValueError`` for anything not hexadecimal."""
        coinbase = self.coinbase_head + extranonce1 + extranonce2 + self.coinbase_tail
        root = sha256d(bytes.fromhex(coinbase))
        for branch in self.branches:
            root = sha256d(root + bytes.fromhex(branch))
        return (
            _word(self.version) + _words(self.previous) + root
            + _word(time) + _word(self.bits) + _word(nonce)
        )  # fmt: skip


def _word(text: str) -> bytes:
    word = bytes.fromhex(text)
    if len(word) != 4:
        raise ValueError(f"{text!r} is not four bytes")
    return word[::-1]


def _words(text: str) -> bytes:
    return b"".join(_word(text[start : start + 8]) for start in range(0, len(text), 8))


def meets(header: bytes, difficulty: float) -> bool:
    """Whether the header's hash is a share of this difficulty."""
    return int.from_bytes(sha256d(header), "little") <= int(DIFFICULTY_ONE / difficulty)


@dataclass
class PoolSession:
    """One miner's connection. ``receive`` takes a line and returns the lines to send back;
    ``facts`` collects what the pool's log should say, oldest first."""

    extranonce1: str
    job: Job = field(default_factory=Job)
    difficulty: float = DIFFICULTY
    facts: list[dict[str, Any]] = field(default_factory=list)
    subscribed: bool = False
    workers: set[str] = field(default_factory=set)
    seen: set[tuple[str, str, str]] = field(default_factory=set)

    def receive(self, line: bytes) -> list[bytes]:
        """Answer one request line; a line that is not one is answered with an error."""
        try:
            request = json.loads(line[:LONGEST_LINE])
            method, parameters = request["method"], request["params"]
            identifier = request["id"]
        except (ValueError, TypeError, KeyError):
            self.facts.append({"event": "malformed"})
            return [_line({"id": None, "result": None, "error": [20, "malformed request", None]})]
        if method == "mining.subscribe":
            return self._subscribe(identifier)
        if method == "mining.authorize":
            return self._authorize(identifier, parameters)
        if method == "mining.submit":
            return [self._submit(identifier, parameters)]
        return [_refuse(identifier, 20, "unknown method")]

    def _subscribe(self, identifier: object) -> list[bytes]:
        self.subscribed = True
        self.facts.append({"event": "subscribe"})
        topics = [["mining.set_difficulty", "d1"], ["mining.notify", "n1"]]
        return [_result(identifier, [topics, self.extranonce1, EXTRANONCE2_SIZE])]

    def _authorize(self, identifier: object, parameters: object) -> list[bytes]:
        if not self.subscribed:
            return [_refuse(identifier, 25, "not subscribed")]
        worker = str(parameters[0]) if isinstance(parameters, list) and parameters else ""
        self.workers.add(worker)
        self.facts.append({"event": "authorize", "worker": worker})
        return [
            _result(identifier, True),
            _notify("mining.set_difficulty", [self.difficulty]),
            _notify("mining.notify", self.job.parameters()),
        ]

    def _submit(self, identifier: object, parameters: object) -> bytes:
        reason = self._fault(parameters)
        event = "share accepted" if reason is None else "share refused"
        worker = str(parameters[0]) if isinstance(parameters, list) and parameters else ""
        self.facts.append({"event": event, "worker": worker, "reason": reason})
        if reason is None:
            return _result(identifier, True)
        return _refuse(identifier, 23, reason)

    def _fault(self, parameters: object) -> str | None:
        if not isinstance(parameters, list) or len(parameters) != 5:
            return "a share has five parameters"
        worker, job, extranonce2, time, nonce = (str(part) for part in parameters)
        if worker not in self.workers:
            return "unauthorized worker"
        if job != self.job.identifier:
            return "job not found"
        if len(extranonce2) != 2 * EXTRANONCE2_SIZE:
            return "extranonce2 has the wrong size"
        if (extranonce2, time, nonce) in self.seen:
            return "duplicate share"
        try:
            header = self.job.header(self.extranonce1, extranonce2, time, nonce)
        except ValueError as fault:
            return str(fault)
        if not meets(header, self.difficulty):
            return "low difficulty share"
        self.seen.add((extranonce2, time, nonce))
        return None


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _result(identifier: object, result: object) -> bytes:
    return _line({"id": identifier, "result": result, "error": None})


def _refuse(identifier: object, code: int, reason: str) -> bytes:
    return _line({"id": identifier, "result": None, "error": [code, reason, None]})


def _notify(method: str, parameters: list[Any]) -> bytes:
    return _line({"id": None, "method": method, "params": parameters})
