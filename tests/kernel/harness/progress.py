# SPDX-License-Identifier: Apache-2.0
"""Progress lines on stderr, and commands whose output is shown only when they fail."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

STARTED = time.monotonic()
# A silent step is reported this often, so that nobody takes it for a hang.
REMINDER_SECONDS = 20.0
TAIL_LINES = 25


def say(text: str) -> None:
    """Print one line on stderr with the seconds since this program began."""
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, each indented, for the end of an error message."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def run(
    what: str,
    command: Sequence[object],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command and return its stdout.

    `what` names the step in progress lines and errors. A failure raises
    RuntimeError with the end of the command's output.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=log, cwd=cwd, env=env
            )
        except FileNotFoundError as error:
            raise RuntimeError(f"{what}: {words[0]} is not installed") from error
        began = time.monotonic()
        status = None
        while status is None:
            try:
                status = process.wait(timeout=REMINDER_SECONDS)
            except subprocess.TimeoutExpired:
                say(f"{what}: still running after {time.monotonic() - began:.0f} s")
            except BaseException:
                process.kill()
                process.wait()
                raise
        out.seek(0)
        log.seek(0)
        output = out.read().decode(errors="replace")
        if status != 0:
            complaint = log.read().decode(errors="replace")
            raise RuntimeError(
                f"{what}: `{' '.join(words)[:200]}` exited with {status}:\n"
                + tail(output + complaint)
            )
    return output
