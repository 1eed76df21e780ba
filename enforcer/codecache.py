# SPDX-License-Identifier: Apache-2.0
"""Compiled programs from an earlier start, kept in a folder that only root can enter.

A file's name is the digest of all that its content was made from, so it is never stale. What is
in any way odd about a file is said in one line, and the programs are compiled: a cache is never
a reason not to enforce.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from loguru import logger

from enforcer.bytecode import Bytecode
from enforcer.paths import write_atomically

# Part of every key: another way to compile, to patch or to store is another number.
FORMAT = 1
# One for each way of attaching, and those of the kernel or version before.
KEPT_FILES = 4


def key(parts: Iterable[str | bytes]) -> str:
    """SHA-256 over what the programs are made from, in order, each part with its length."""
    digest = hashlib.sha256(str(FORMAT).encode())
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def read(folder: Path, name: str, functions: Iterable[str]) -> Bytecode | None:
    """What was kept under the key `name`, if it is whole, ours alone, and has all `functions`."""
    path = folder / f"{name}.json"
    try:
        _check_owner(os.lstat(folder), stat.S_ISDIR)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            _check_owner(os.fstat(descriptor), stat.S_ISREG)
            found = _parse(file.read())
        missing = [function for function in functions if function not in found.functions]
        if missing:
            raise ValueError(f"lacks {missing[0]}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("{}: not used, compiling anew: {}", path, error)
        return None
    return found


def write(folder: Path, name: str, code: Bytecode) -> None:
    """Keep `code` under the key `name`, and only the newest few files."""
    content = json.dumps(
        {
            "license": code.license,
            "kernel_version": code.kernel_version,
            "functions": {
                function: base64.b64encode(data).decode()
                for function, data in code.functions.items()
            },
        }
    )
    path = folder / f"{name}.json"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(os.lstat(folder), stat.S_ISDIR)
        before = os.umask(0o077)
        try:
            write_atomically(path, f"{_digest(content.encode())}\n{content}")
        finally:
            os.umask(before)
        _prune(folder)
    except (OSError, ValueError) as error:
        logger.warning("{}: not kept, the next start compiles again: {}", path, error)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parse(data: bytes) -> Bytecode:
    digest, _, content = data.partition(b"\n")
    if digest.decode(errors="replace") != _digest(content):
        raise ValueError("its content has another digest")
    try:
        found = json.loads(content)
        functions = {
            str(function): base64.b64decode(text, validate=True)
            for function, text in found["functions"].items()
        }
        return Bytecode(str(found["license"]), int(found["kernel_version"]), functions)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it does not parse: {error!r}") from None


def _check_owner(status: os.stat_result, of_kind: Callable[[int], bool]) -> None:
    """ValueError for what anyone but this user could have made or changed."""
    if not of_kind(status.st_mode):
        raise ValueError("it is of another kind")
    if status.st_uid != os.geteuid():
        raise ValueError(f"it belongs to user {status.st_uid}")
    if status.st_mode & 0o077:
        raise ValueError(f"its mode is {stat.S_IMODE(status.st_mode):o}")


def _prune(folder: Path) -> None:
    """Remove all but the newest files, and what a crash has left half written."""
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in (*files[KEPT_FILES:], *folder.glob(".*")):
        path.unlink(missing_ok=True)
