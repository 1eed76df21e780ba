# SPDX-License-Identifier: Apache-2.0
"""Starting and stopping the long-lived processes, for `lictor up` and `lictor down`.

A daemon whose unit is enabled is systemd's to start and stop; any other is started here and
detached. Each holds a lock on its pid file as long as it lives, so that a pid read there is its
own, and says READY to whoever started it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from enforcer import paths

READY_SECONDS = 120
STOP_SECONDS = 30


@dataclass(frozen=True)
class Daemon:
    """A process that runs `python -m module`; `unit` is its systemd service."""

    name: str
    module: str
    unit: str
    pid_file: Path

    @property
    def log(self) -> Path:
        return paths.LOG / f"{self.name}.log"

    def running(self) -> int | None:
        """Pid of the process that holds the lock, None if none does."""
        try:
            with open(self.pid_file) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read().strip() or 0) or None
        except FileNotFoundError:
            pass
        return None

    def start(self) -> None:
        """Start it anew and wait until it is ready. OSError names its log if it is not."""
        if self._is_systemds():
            self._systemctl("restart")
            return
        self.stop()
        paths.LOG.mkdir(mode=0o750, parents=True, exist_ok=True)
        with _ready_socket() as (address, ready), open(self.log, "ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                cwd=paths.INSTALLATION,
                env={**os.environ, "NOTIFY_SOCKET": address},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            deadline = time.monotonic() + READY_SECONDS
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    raise OSError(f"{self.name} ended with {process.returncode}; see {self.log}")
                if _said_ready(ready):
                    # It goes on without us: Popen shall not miss its end.
                    process.returncode = 0
                    return
        raise OSError(f"{self.name} is not ready after {READY_SECONDS} s; see {self.log}")

    def stop(self) -> bool:
        """Stop a running one; False if there was none."""
        if self._is_systemds():
            self._systemctl("stop")
            return True
        pid = self.running()
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while self.running() == pid:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        return True

    def _is_systemds(self) -> bool:
        if not Path("/run/systemd/system").is_dir():
            return False
        asked = ["systemctl", "is-enabled", "--quiet", self.unit]
        return subprocess.run(asked, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def _systemctl(self, verb: str) -> None:
        done = subprocess.run(["systemctl", verb, self.unit], check=False)
        if done.returncode != 0:
            raise OSError(f"systemctl {verb} {self.unit} failed; see journalctl -u {self.unit}")


@contextlib.contextmanager
def _ready_socket() -> Iterator[tuple[str, socket.socket]]:
    """(NOTIFY_SOCKET, our end of it): a name that only this process and its child know."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as listening:
        listening.bind("")
        yield f"@{listening.getsockname()[1:].decode()}", listening


def _said_ready(listening: socket.socket) -> bool:
    return bool(select.select([listening], [], [], 0.1)[0]) and listening.recv(256) == b"READY=1"


def agent() -> Daemon:
    """The enforcer's agent."""
    return Daemon("agent", "enforcer.agent", "lictor-enforcer", paths.AGENT_PID)


def uplink() -> Daemon:
    """The enforcer's link to a control plane."""
    return Daemon("uplink", "enforcer.uplink", "lictor-uplink", paths.UPLINK_PID)


def controlplane() -> Daemon:
    """The control plane on this machine."""
    file = paths.CONTROLPLANE_STATE / "controlplane.pid"
    return Daemon("controlplane", "controlplane", "lictor-controlplane", file)
