# SPDX-License-Identifier: Apache-2.0
"""Where a node keeps its things. `LICTOR_RUN` and `LICTOR_STATE` move them, for tests."""

from __future__ import annotations

import os
from pathlib import Path

RUN = Path(os.environ.get("LICTOR_RUN", "/run/lictor"))
STATE = Path(os.environ.get("LICTOR_STATE", "/var/lib/lictor"))
LOG = Path(os.environ.get("LICTOR_LOG", "/var/log/lictor"))
INSTALLATION = Path(__file__).resolve().parent.parent

ADMIN_SOCKET = RUN / "admin.sock"
# In a folder of its own: a container mounts the folder, and a new agent's socket appears in it.
CALLS_SOCKET = RUN / "calls" / "calls.sock"
AGENT_PID = RUN / "agent.pid"
LOADER_REPORT = RUN / "loader.json"
CANARY_STATE = RUN / "canary.json"
PROGRAM_SET = RUN / "program-set.json"
CALLS_DATABASE = RUN / "calls.db"
EXEMPTIONS = RUN / "exemptions.json"
SPOOL = STATE / "spool"
POLICIES = STATE / "policies"
# The control plane's own: it may run under another user, and without an enforcer beside it.
CONTROLPLANE_STATE = Path(os.environ.get("LICTOR_API_STATE", "/var/lib/lictor-controlplane"))
# Where a control plane on this machine listens, if nothing else is set.
CONTROLPLANE_SOCKET = Path("/run/lictor-controlplane/api.sock")
UPLINK_STATE = STATE / "uplink.json"
# Not below /run/lictor: the uplink's unit may write nowhere but in the state's folder.
UPLINK_PID = STATE / "uplink.pid"
# In a folder of its own: systemd makes the one above readable for all.
PROGRAM_CACHE = Path("/var/cache/lictor/programs")
BPF_SOURCES = INSTALLATION / "bpf"
SHIPPED_POLICIES = INSTALLATION / "policies"


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text`, durable once this returns: a crash leaves old or new, whole."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
