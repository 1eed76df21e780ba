# SPDX-License-Identifier: Apache-2.0
"""The mirror: one HTTP server with a package index, a git repository and plain files.

Everything that it serves is made here: the wheel, the repository of the small
project, the miner's source and a built miner.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import socket
import subprocess
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.replay import namespaces
from tests.replay.places import MIRROR_ADDRESS, MIRROR_PORT
from tests.replay.records import Record

HERE = Path(__file__).parent
PACKAGE = "plumbline"
VERSION = "1.0.0"
MODULE = (
    '"""A sample package of the replay\'s index."""\n\n\ndef level() -> str:\n    return "plumb"\n'
)


def build_wheel(directory: Path) -> Path:
    """Write the sample package as a wheel into ``directory``; returns its path."""
    information = f"{PACKAGE}-{VERSION}.dist-info"
    contents = {
        f"{PACKAGE}.py": MODULE,
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: replay\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
        record += f"{name},sha256={digest.rstrip(b'=').decode()},{len(text.encode())}\n"
    contents[f"{information}/RECORD"] = record + f"{information}/RECORD,,\n"
    path = directory / f"{PACKAGE}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in contents.items():
            wheel.writestr(name, text)
    return path


def _publish_package(site: Path) -> None:
    page = site / "simple" / PACKAGE
    page.mkdir(parents=True)
    wheel = build_wheel(page)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    link = f'<!DOCTYPE html><a href="{wheel.name}#sha256={digest}">{wheel.name}</a>\n'
    (page / "index.html").write_text(link)


def _run(*command: str) -> None:
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def _publish_repository(site: Path) -> None:
    repository = str(site / "greeter.git")
    git = ("git", f"--git-dir={repository}", f"--work-tree={HERE / 'project'}")
    author = ("-c", "user.name=replay", "-c", "user.email=replay@example.invalid")
    _run("git", "init", "--quiet", "--bare", "--initial-branch=main", repository)
    _run(*git, "add", "greeter.c", "greeter_checks.py", "Makefile")
    _run(*git, *author, "commit", "--quiet", "--message", "greeter: first version")
    _run(*git, "repack", "-a", "-d", "--quiet")
    _run(*git, "update-server-info")


def _publish_files(site: Path) -> None:
    files = site / "files"
    files.mkdir()
    source = shutil.copy(HERE / "programs" / "miner.c", files / "miner.c")
    _run("gcc", "-O2", "-o", str(files / "miner"), str(source))


def publish(site: Path) -> None:
    """Fill an empty directory with all that the mirror serves.

    Errors: ``RuntimeError`` naming the program that failed.
    """
    _publish_package(site)
    _publish_repository(site)
    _publish_files(site)


class _Server(ThreadingHTTPServer):
    """An HTTP server on a socket that already listens, with a record of its requests."""

    def __init__(self, listening: socket.socket, site: Path, record: Record) -> None:
        super().__init__((MIRROR_ADDRESS, MIRROR_PORT), partial(_Handler, directory=site), False)
        self.socket.close()
        self.socket = listening
        self.record = record


class _Handler(SimpleHTTPRequestHandler):
    server: _Server

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        peer = self.client_address[0]
        self.server.record.add(path=self.path, status=int(code), size=size, peer=peer)

    def log_error(self, *_arguments: object) -> None:
        """An error is on record by its status; nothing goes to the console."""


class Mirror:
    """Serves ``site`` inside the mirror's namespace; ``record`` has one entry per request."""

    def __init__(self, site: Path, log: Path) -> None:
        self.record = Record(log)
        listening = namespaces.listener("mirror", MIRROR_ADDRESS, MIRROR_PORT)
        server = _Server(listening, site, self.record)
        threading.Thread(target=server.serve_forever, name="mirror", daemon=True).start()
