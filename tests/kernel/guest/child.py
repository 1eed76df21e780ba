# SPDX-License-Identifier: Apache-2.0
"""Runs one attempt in a forked child: in a network namespace, in a cgroup, and says what came.

A fork and not a program of its own: under emulation Python takes a second to start, and a fork
takes milliseconds. The child enters the namespace first and the cgroup last, so that nothing
but the attempt happens inside the workload.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from enforcer import cgroups

CLONE_NEWNET = 0x40000000
LIMIT_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to: `value` as it returned, or the `errno` that it met."""

    value: Any = None
    errno: int | None = None
    text: str = ""


def attempt(
    action: Callable[..., Any],
    *arguments: Any,
    namespace: str | None = None,
    cgroup: str | None = None,
) -> Outcome:
    """Run `action(*arguments)` in a child; without `cgroup` outside every workload."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(writing, action, arguments, namespace, cgroup)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        report = pipe.read()
    _, status = os.waitpid(pid, 0)
    name = getattr(action, "__name__", repr(action))
    if status != 0 or not report:
        raise AssertionError(f"attempt {name}: the child ended with wait status {status:#x}")
    message = json.loads(report)
    if "failed" in message:
        raise AssertionError(f"attempt {name} failed:\n{message['failed']}")
    return Outcome(**message)


def _child(
    pipe: int,
    action: Callable[..., Any],
    arguments: tuple[Any, ...],
    namespace: str | None,
    cgroup: str | None,
) -> NoReturn:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LIMIT_SECONDS)
        if namespace is not None:
            enter_network(namespace)
        if cgroup is not None:
            (cgroups.folder(cgroup) / "cgroup.procs").write_text("0")
        try:
            message: dict[str, Any] = {"value": action(*arguments)}
        except OSError as error:
            message = {"errno": error.errno, "text": str(error)}
        report = json.dumps(message)
    except BaseException:  # noqa: BLE001 (whatever it is, the test shall show it)
        report = json.dumps({"failed": traceback.format_exc()})
    finally:
        # No clean-up of the parent's: its temporary folders and files are not the child's.
        os.write(pipe, report.encode())
        os._exit(0)


def enter_network(namespace: str) -> None:
    """Move this thread into a network namespace of `ip netns`."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(handle, CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"network namespace {namespace}: {os.strerror(error)}")
    finally:
        os.close(handle)
