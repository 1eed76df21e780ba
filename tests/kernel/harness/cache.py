# SPDX-License-Identifier: Apache-2.0
"""What is slow to build is kept outside the repository, by the hash of all it was made from."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.kernel.harness.progress import say

# Other checkouts on this machine may hold other versions; running VMs keep
# what they opened, so an entry may go while it is in use.
KEPT_PER_NAME = 3


def root() -> Path:
    """The cache's folder: $LICTOR_CACHE, else ~/.cache/lictor."""
    configured = os.environ.get("LICTOR_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "lictor"


def digest(parts: Iterable[str | bytes | Path]) -> str:
    """Hash of strings, bytes and files' contents, in order, each with its length."""
    state = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part
        data = data.encode() if isinstance(data, str) else data
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.hexdigest()[:16]


def find(name: str, key: str) -> Path | None:
    """The entry's folder if it has been built."""
    path = root() / f"{name}-{key}"
    return path if path.is_dir() else None


def obtain(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder `name-key`, built first if it is not there.

    `build` fills an empty folder, which appears under its name only when it
    is complete. One builder per name at a time; the others wait for it.
    """
    base = root()
    base.mkdir(parents=True, exist_ok=True)
    path = base / f"{name}-{key}"
    if find(name, key) is None:
        with (base / f".{name}.lock").open("w") as lock:
            _acquire(lock.fileno(), name)
            if find(name, key) is None:
                _build(base, name, path, build)
                prune(name)
    os.utime(path)
    return path


def _acquire(descriptor: int, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"{name}: another process is building it, waiting")
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _build(base: Path, name: str, path: Path, build: Callable[[Path], None]) -> None:
    unfinished = base / f".building-{name}"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir()
    say(f"{name}: building (kept in {path})")
    try:
        build(unfinished)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    unfinished.rename(path)
    say(f"{name}: ready")


def prune(name: str) -> None:
    """Remove all but the newest entries of a name; a key is 16 hex digits."""
    entries = [path for path in root().glob(f"{name}-*") if len(path.name) == len(name) + 17]
    entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in entries[KEPT_PER_NAME:]:
        shutil.rmtree(path)
