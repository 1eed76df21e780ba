# SPDX-License-Identifier: Apache-2.0
"""A node as an operator sets it up with systemd, before it is booted anew for test_services.py.

    python -m tests.kernel.guest.services

A listener that records who connects; a privileged container that tries to, without end, and
that podman starts at boot; Lictor's services, enabled; a policy. The container gets through once,
before there is Lictor: its attempts are real.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.kernel.guest.programs import SOURCES, run_lictor, wait_until

PORT = 7777
SLICE = "/pod.slice"
CONTAINER = "first"
POLICY = "boxes"
CONNECTIONS = Path("/var/lib/guest-connections")
LISTENER_UNIT = "guest-listener.service"
UNITS = ("lictor-loader", "lictor-enforcer", "lictor-controlplane", "lictor-uplink")

_ROOT = Path("/srv/services-root")
_ATTEMPTS = ("/bin/knock", "127.0.0.1", str(PORT), "1000000", "100000")
_LISTENER = f"""\
import socket
server = socket.create_server(("127.0.0.1", {PORT}))
with open("{CONNECTIONS}", "w") as log:
    while True:
        connection, peer = server.accept()
        print(peer, file=log, flush=True)
        connection.close()
"""
_LISTENER_TEXT = """\
[Unit]
Before=podman-restart.service
[Service]
ExecStart=/usr/bin/python3 /var/lib/guest-listener.py
[Install]
WantedBy=multi-user.target
"""
_POLICY_TEXT = f"""\
apiVersion: lictor/v1
kind: Policy
metadata: {{name: {POLICY}}}
spec:
  mode: enforce
  select: [{{cgroup: {SLICE}/**}}]
  egress: none
  ingress: any
  exec: {{allow: [/bin/knock, /usr/**, /opt/lictor/**]}}
  devices: any
  unix: any
"""


def run(*words: str) -> str:
    """Run a command that must succeed; its output."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: ended with {done.returncode}: {done.stderr}")
    return done.stdout


def connections() -> int:
    """How many connections the listener has had since it was started."""
    return len(CONNECTIONS.read_text().splitlines())


def _listen() -> None:
    Path("/var/lib/guest-listener.py").write_text(_LISTENER)
    Path("/etc/systemd/system", LISTENER_UNIT).write_text(_LISTENER_TEXT)
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", LISTENER_UNIT)
    wait_until(CONNECTIONS.exists, "the listener")


def _start_container() -> None:
    for name in ("bin", "proc", "sys", "dev", "etc", "run", "tmp"):
        (_ROOT / name).mkdir(parents=True)
    program = str(_ROOT / "bin/knock")
    run("gcc", "-O1", "-static", "-o", program, str(SOURCES / "knock.c"))
    shutil.copy(program, _ROOT / "bin/other")
    run("podman", "run", "--detach", f"--name={CONTAINER}", "--restart=always", "--privileged",
        "--network=host", f"--cgroup-parent={SLICE[1:]}", "--rootfs", str(_ROOT),
        *_ATTEMPTS)  # fmt: skip
    # The image masks what would slow every boot down.
    run("systemctl", "unmask", "podman-restart.service")
    run("systemctl", "enable", "podman-restart.service")


def main() -> None:
    _listen()
    _start_container()
    wait_until(lambda: connections() > 0, "the container's connection, without Lictor")
    run("systemctl", "enable", "--now", *UNITS)
    file = Path("/root/boxes.yaml")
    file.write_text(_POLICY_TEXT)
    applied = run_lictor("policy", "apply", str(file))
    if applied.returncode != 0:
        raise RuntimeError(applied.stderr)
    print(json.dumps({"prepared": True, "connections": connections()}))


if __name__ == "__main__":
    main()
