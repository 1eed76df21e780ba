# SPDX-License-Identifier: Apache-2.0
"""The trajectory's side of the executor: sends tool calls in, waits for their results."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from tests.replay import places

EXECUTOR = Path(__file__).with_name("executor.py")
PYTHON = "/usr/bin/python3"
# Given to the executor for a call's own limit; the reply may come this much later.
GRACE = 60.0


@dataclass(frozen=True)
class Outcome:
    """A tool call's result as its executor saw it; ``status`` is None after a timeout.

    ``at`` is when it began, in seconds of the session; ``trainer`` the trainer's own
    count at its end: pid, opens, failures.
    """

    status: int | None
    output: str
    at: float
    seconds: float
    trainer: dict[str, int]


class Session:
    """One executor in the sandbox. ``trainer`` is the trainer's process id."""

    def __init__(self, process: subprocess.Popen[str], timeout: float) -> None:
        self._process = process
        self._replies: dict[int, Queue[dict[str, Any]]] = {0: Queue()}
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        threading.Thread(target=self._read, name="executor-replies", daemon=True).start()
        self.trainer: int = self._take(0, timeout)["trainer"]["pid"]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            reply = json.loads(line)
            self._replies[reply["request"]].put(reply)

    def _take(self, request: int, timeout: float) -> dict[str, Any]:
        try:
            return self._replies[request].get(timeout=timeout)
        except Empty:
            status = self._process.poll()
            state = "no answer" if status is None else f"ended with status {status}"
            raise RuntimeError(f"executor: {state} within {timeout:.0f} s") from None

    def call(
        self, identifier: str, tool: str, arguments: dict[str, str], timeout: float
    ) -> Outcome:
        """Run one tool call to its end.

        Errors: ``RuntimeError`` when the executor itself does not answer.
        """
        at = round(time.monotonic() - self._begun, 3)
        with self._lock:
            request = len(self._replies)
            self._replies[request] = Queue()
            assert self._process.stdin is not None
            message = {"request": request, "id": identifier, "tool": tool, "timeout": timeout}
            self._process.stdin.write(json.dumps({**message, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        reply = self._take(request, timeout + GRACE)
        return Outcome(
            status=reply["status"],
            output=reply["output"],
            at=at,
            seconds=reply["seconds"],
            trainer=reply["trainer"],
        )


@contextlib.contextmanager
def start(prefix: list[str], lictor: str | None, timeout: float = 180.0) -> Iterator[Session]:
    """Start the executor in the sandbox's namespace, behind ``prefix`` (``lictor run … --``).

    Errors: ``RuntimeError`` when it does not report itself.
    """
    command = [*prefix, "ip", "netns", "exec", places.SANDBOX, PYTHON, "-I", "-S", str(EXECUTOR)]
    command += ["--episode", places.EPISODE, "--gpu", str(places.GPU_NODE)]
    command += ["--workspace", str(places.WORKSPACE)]
    if lictor is not None:
        command += ["--lictor", lictor]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": str(places.WORKSPACE), "LANG": "C.UTF-8"},
    )
    try:
        yield Session(process, timeout)
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
