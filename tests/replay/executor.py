# SPDX-License-Identifier: Apache-2.0
"""The sandbox server of the replay: runs inside the workload and executes tool calls.

It stands for the server that RL frameworks put into a sandbox. JSON lines come in on
standard input, one per tool call::

    {"request": 1, "id": "sweep", "tool": "shell", "arguments": {"command": "..."}, "timeout": 60}

and each is answered on standard output when its command has ended, in any order::

    {"request": 1, "status": 0, "output": "...", "seconds": 1.2, "trainer": {...}}

Beside it runs the trainer, a child that was there before any call: it holds the GPU
and opens it again and again. The file imports nothing of the replay: it is started
by path, as any tool would be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, NoReturn

COUNTERS = struct.Struct("<QQ")
OUTPUT_LIMIT = 4000
REOPEN_PERIOD = 0.2


class Trainer:
    """A forked child that holds the GPU node and re-opens it until it is ended."""

    def __init__(self, node: str) -> None:
        self._counters = mmap.mmap(-1, COUNTERS.size)
        self.pid = os.fork()
        if self.pid == 0:
            self._train(node)

    def _train(self, node: str) -> NoReturn:
        opens = failures = 0
        held: int | None = None
        while True:
            try:
                fresh = os.open(node, os.O_RDONLY | os.O_CLOEXEC)
                opens += 1
                if held is None:
                    held = fresh
                else:
                    os.close(fresh)
            except OSError:
                failures += 1
            COUNTERS.pack_into(self._counters, 0, opens, failures)
            time.sleep(REOPEN_PERIOD)

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def state(self) -> dict[str, int]:
        opens, failures = COUNTERS.unpack_from(self._counters)
        return {"pid": self.pid, "opens": opens, "failures": failures}


class Executor:
    """Runs each call's command in a thread, through ``lictor call exec`` where given."""

    def __init__(self, lictor: str | None, episode: str, trainer: Trainer) -> None:
        self._lictor = lictor
        self._episode = episode
        self._trainer = trainer
        self._writing = threading.Lock()
        self._groups: list[int] = []

    def reply(self, **fields: object) -> None:
        line = json.dumps({**fields, "trainer": self._trainer.state()})
        with self._writing:
            print(line, flush=True)

    def wrapped(self, request: dict[str, Any]) -> list[str]:
        command = ["/bin/sh", "-c", request["arguments"]["command"]]
        if self._lictor is None:
            return command
        announce = [self._lictor, "call", "exec", "--id", request["id"]]
        announce += ["--episode", self._episode, "--tool", request["tool"]]
        return [*announce, "--arguments", json.dumps(request["arguments"]), "--", *command]

    def execute(self, request: dict[str, Any]) -> None:
        begun = time.monotonic()
        # A file, not a pipe: what a call leaves behind may keep its output open for ever.
        with tempfile.TemporaryFile() as output:
            status = self._run(self.wrapped(request), output.fileno(), request["timeout"])
            output.seek(0)
            text = output.read().decode("utf-8", "replace")[-OUTPUT_LIMIT:]
        seconds = round(time.monotonic() - begun, 3)
        self.reply(request=request["request"], status=status, output=text, seconds=seconds)

    def end(self) -> None:
        """Kill what calls have left running in their process groups."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def _run(self, command: list[str], output: int, timeout: float) -> int | None:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        self._groups.append(process.pid)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lictor", help="path of the lictor command; without it calls run bare")
    parser.add_argument("--episode", required=True)
    parser.add_argument("--gpu", required=True, help="the GPU node that the trainer holds")
    parser.add_argument("--workspace", required=True)
    options = parser.parse_args()
    trainer = Trainer(options.gpu)
    os.chdir(options.workspace)
    executor = Executor(options.lictor, options.episode, trainer)
    executor.reply(request=0)
    for line in sys.stdin:
        request = json.loads(line)
        name = f"call-{request['id']}"
        threading.Thread(target=executor.execute, args=(request,), name=name).start()
    executor.end()
    trainer.end()


if __name__ == "__main__":
    main()
