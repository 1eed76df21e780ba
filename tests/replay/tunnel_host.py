# SPDX-License-Identifier: Apache-2.0
"""The host outside that waits for tunnels: a real sshd which accepts remote forwards."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.replay.places import TUNNEL_HOST, TUNNEL_PORTS

SSHD = "/usr/sbin/sshd"
CONFIGURATION = """\
{ports}
ListenAddress {address}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
AllowTcpForwarding yes
GatewayPorts no
KexAlgorithms curve25519-sha256
LogLevel DEBUG1
"""


def make_keys(directory: Path, identity: Path) -> None:
    """Make the host's key, and the agent's own at ``identity``, which the host accepts."""
    for path in (directory / "host_key", identity):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"ssh-keygen: {path}: {done.stderr.strip()}")
    public = Path(f"{identity}.pub").read_text()
    (directory / "authorized_keys").write_text(public)


@contextlib.contextmanager
def serve(directory: Path, log: Path, timeout: float = 60.0) -> Iterator[None]:
    """Run sshd in the outside namespace, logging to ``log``, until the block ends.

    Errors: ``RuntimeError`` with sshd's own words when it does not come to listen.
    """
    Path("/run/sshd").mkdir(exist_ok=True)
    ports = "\n".join(f"Port {port}" for port in TUNNEL_PORTS)
    text = CONFIGURATION.format(ports=ports, address=TUNNEL_HOST, directory=directory)
    configuration = directory / "sshd_config"
    configuration.write_text(text)
    command = ["ip", "netns", "exec", "outside", SSHD, "-D", "-f", str(configuration)]
    log.write_text("")
    server = subprocess.Popen([*command, "-E", str(log)])
    try:
        _await_listening(server, log, timeout)
        yield
    finally:
        server.terminate()
        server.wait()


def _await_listening(server: subprocess.Popen[bytes], log: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while log.read_text().count("Server listening on") < len(TUNNEL_PORTS):
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{SSHD}: not listening: {log.read_text().strip()}")
        time.sleep(0.05)


class TunnelLog:
    """sshd's log as a far side's record: positions are lengths of the file."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def mark(self) -> int:
        return self._log.stat().st_size

    def since(self, position: int) -> str:
        with self._log.open("rb") as log:
            log.seek(position)
            return log.read().decode("utf-8", "replace")


def facts(log: str) -> dict[str, int]:
    """Count what matters in a piece of sshd's log: connections, logins, remote forwards."""
    return {
        "connections": log.count("Connection from "),
        "logins": log.count("Accepted publickey "),
        "forwards": log.count("Local forwarding listening on "),
    }
