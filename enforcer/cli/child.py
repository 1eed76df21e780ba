# SPDX-License-Identifier: Apache-2.0
"""Starting a command as a child that waits until it is bound, and ending as it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence

from enforcer.cli.exits import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_NOT_STARTED

FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class HeldChild:
    """A forked child that executes `command` once `release` is called, never before.

    `prepare` runs in the child first; if it fails, or the parent dies, the command never starts.
    """

    def __init__(self, command: Sequence[str], prepare: Callable[[], None] | None = None) -> None:
        ready_reading, ready_writing = os.pipe()
        go_reading, go_writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(ready_reading)
            os.close(go_writing)
            _child(command, prepare, ready_writing, go_reading)
        os.close(ready_writing)
        os.close(go_reading)
        self._go = go_writing
        with os.fdopen(ready_reading, "rb") as pipe:
            self._ready = pipe.read() == b"ready"

    def started(self) -> bool:
        """Whether the child is prepared and waits."""
        return self._ready

    def release(self) -> int:
        """Let the command start; returns its exit status, as a shell would."""
        # Before it starts, so that none is lost. The terminal sends the first two to it as well.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
        for number in FORWARDED:
            signal.signal(number, lambda got, _: os.kill(self.pid, got))
        with contextlib.suppress(BrokenPipeError):
            os.write(self._go, b"go")
        os.close(self._go)
        while True:
            _, status = os.waitpid(self.pid, 0)
            if os.WIFEXITED(status):
                return os.WEXITSTATUS(status)
            if os.WIFSIGNALED(status):
                return 128 + os.WTERMSIG(status)

    def abandon(self) -> None:
        """End the child without the command having started."""
        os.close(self._go)
        os.waitpid(self.pid, 0)


def _child(command: Sequence[str], prepare: Callable[[], None] | None, ready: int, go: int) -> None:
    """Never returns."""
    try:
        if prepare is not None:
            prepare()
        os.write(ready, b"ready")
        os.close(ready)
        if os.read(go, 2) != b"go":
            os._exit(EXIT_NOT_STARTED)
        os.close(go)
        # Python ignores these two, and what is ignored stays so in the command.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], list(command))
    except FileNotFoundError as error:
        print(f"lictor: {error.filename or command[0]}: not found", file=sys.stderr, flush=True)
        os._exit(EXIT_NOT_FOUND)
    except OSError as error:
        print(f"lictor: {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(EXIT_NOT_EXECUTABLE)
    finally:
        os._exit(EXIT_NOT_STARTED)
