# SPDX-License-Identifier: Apache-2.0
"""Ways to start a program: each returns what the program wrote, or raises what exec met."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000

_libc = ctypes.CDLL(None, use_errno=True)


def _started(begin: Callable[[], object]) -> str:
    """Call `begin`, which execs, in a fork of this process; standard output is a pipe."""
    output, to_output = os.pipe()
    problem, to_problem = os.pipe()
    pid = os.fork()
    if pid == 0:
        _exec(begin, to_output, to_problem)
    os.close(to_output)
    os.close(to_problem)
    with os.fdopen(problem, "rb") as pipe:
        number = int(pipe.read() or 0)
    with os.fdopen(output, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(pid, 0)
    if number:
        raise OSError(number, os.strerror(number))
    return text


def _exec(begin: Callable[[], object], output: int, problem: int) -> NoReturn:
    try:
        os.dup2(output, 1)
        begin()
    except OSError as error:
        os.write(problem, str(error.errno).encode())
    finally:
        os._exit(1)


def start(path: bytes | str | Path, *words: str) -> str:
    """execve(2)."""
    return _started(lambda: os.execv(path, ["program", *words]))


def start_at(folder: str, name: str) -> str:
    """execveat(2) with a name below an open folder."""
    return _started(lambda: _execveat(os.open(folder, os.O_PATH), name.encode(), 0))


def start_descriptor(path: str | Path, flags: int = os.O_RDONLY) -> str:
    """fexecve(3): a descriptor and no name."""
    return _started(lambda: _execveat(os.open(path, flags), b"", AT_EMPTY_PATH))


def start_by_proc(path: str | Path) -> str:
    """A descriptor by its name below /proc."""

    def begin() -> None:
        os.execv(f"/proc/self/fd/{os.open(path, os.O_RDONLY)}", ["program"])

    return _started(begin)


def start_memory(path: str | Path, *words: str | Path) -> str:
    """A copy of the program that has no name: memfd_create(2)."""

    def begin() -> None:
        descriptor = os.memfd_create("copy")
        os.write(descriptor, Path(path).read_bytes())
        _execveat(descriptor, b"", AT_EMPTY_PATH, *words)

    return _started(begin)


def start_below(root: str | Path, path: str | Path, *words: str | Path) -> str:
    """chroot(2) first."""

    def begin() -> None:
        os.chroot(root)
        os.chdir("/")
        os.execv(path, ["program", *map(str, words)])

    return _started(begin)


def start_deep(folders: list[bytes], name: bytes) -> str:
    """By a relative name, from a working directory whose path is too long to be given whole."""

    def begin() -> None:
        for folder in folders:
            os.chdir(folder)
        os.execv(name, [b"program"])

    return _started(begin)


def _execveat(folder: int, name: bytes, flags: int, *arguments: str | Path) -> NoReturn:
    texts = [b"program", *map(os.fsencode, arguments), None]
    words = (ctypes.c_char_p * len(texts))(*texts)
    environment = (ctypes.c_char_p * 1)(None)
    os.set_inheritable(folder, True)
    _libc.execveat(folder, name, words, environment, flags)
    error = ctypes.get_errno()
    raise OSError(error, os.strerror(error))
