# SPDX-License-Identifier: Apache-2.0
"""`python -m controlplane` as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from controlplane.storage.database import Database
from tests.api.served import PATIENCE, add_token, free_port

REPOSITORY = Path(__file__).parents[2]


class Process:
    """A control plane; `port` is its TCP port, `socket` its Unix socket."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.socket = folder / "run" / "api.sock"
        self._manager = folder / "notify"
        self._log = folder / "log"
        self._settings = {
            "listen": f"unix:{self.socket},127.0.0.1:{self.port}",
            "state": str(folder / "state"),
            **settings,
        }
        self._token = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> None:
        """Start it and wait until it says that it is ready, as systemd would."""
        self._manager.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(self._manager))
            manager.settimeout(0.1)
            process = self.spawn(NOTIFY_SOCKET=str(self._manager), **environment)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                try:
                    assert manager.recv(100) == b"READY=1"
                except TimeoutError:
                    assert process.poll() is None, self.log()
                    continue
                return
            raise AssertionError(self.log())

    @property
    def pid(self) -> int:
        """Of the one that runs."""
        assert self._process is not None
        return self._process.pid

    def fail(self) -> tuple[int, str]:
        """Start it where it has to end by itself: its exit status and what it said."""
        with self.spawn() as process:
            status = process.wait(PATIENCE)
        return status, self.log()

    def end(self, number: int) -> int:
        """Send a signal, wait for the end; the exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(PATIENCE)
        self._process = None
        return status

    def close(self) -> None:
        """End it however it is."""
        if self._process is not None:
            self.end(signal.SIGKILL)

    def log(self) -> str:
        """All that it wrote so far."""
        return self._log.read_text(encoding="utf-8")

    async def client(self) -> aiohttp.ClientSession:
        """A session of an operator on its Unix socket."""
        if not self._token:
            database = await Database.open(Path(self._settings["state"]) / "controlplane.db")
            self._token = await add_token(database, "operator", created=time.time())
            await database.close()
        headers = {"Authorization": f"Bearer {self._token}"}
        connector = aiohttp.UnixConnector(str(self.socket))
        return aiohttp.ClientSession("http://localhost", connector=connector, headers=headers)

    def spawn(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start it and do not wait."""
        named = {f"LICTOR_API_{name.upper()}": text for name, text in self._settings.items()}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "controlplane"],
                cwd=REPOSITORY,
                env={"PATH": os.environ["PATH"], **named, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self._process


def self_signed(folder: Path) -> tuple[Path, Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1, its key, and a client's context that trusts it alone."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "2", "-subj", "/CN=lictor", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", str(key), "-out", str(certificate),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key, ssl.create_default_context(cafile=str(certificate))


async def ask(session: aiohttp.ClientSession, method: str, path: str, **more: Any) -> Any:
    """The body of an answer that has to be a success."""
    async with session.request(method, path, **more) as response:
        body = await response.json()
        assert response.status < 300, body
        return body
