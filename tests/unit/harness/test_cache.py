# SPDX-License-Identifier: Apache-2.0
"""A cache entry is there whole or not at all, and is built once."""

import os
import threading
from pathlib import Path

import pytest

from tests.kernel.harness import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LICTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def key(number: int) -> str:
    return cache.digest([str(number)])


def test_second_request_builds_nothing() -> None:
    built: list[Path] = []
    first = cache.obtain("thing", key(1), built.append)
    second = cache.obtain("thing", key(1), built.append)
    assert first == second
    assert len(built) == 1


def test_failed_build_leaves_nothing(own_cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("mirror gone")

    with pytest.raises(RuntimeError, match="mirror gone"):
        cache.obtain("thing", key(1), fail)
    assert cache.find("thing", key(1)) is None
    assert [path.name for path in own_cache.iterdir()] == [".thing.lock"]


def test_remains_of_a_killed_build_are_not_used(own_cache: Path) -> None:
    (own_cache / ".building-thing").mkdir(parents=True)
    (own_cache / ".building-thing/old").write_text("x")
    entry = cache.obtain("thing", key(1), lambda folder: (folder / "new").touch())
    assert [path.name for path in entry.iterdir()] == ["new"]


def test_two_at_once_build_once() -> None:
    started = threading.Event()
    go_on = threading.Event()
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        started.set()
        assert go_on.wait(10)

    threads = [
        threading.Thread(target=cache.obtain, args=("thing", key(1), build)) for _ in range(2)
    ]
    threads[0].start()
    assert started.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(built) == 1


def test_oldest_entries_of_the_name_go() -> None:
    def build(_folder: Path) -> None:
        pass

    entries = []
    for number in range(cache.KEPT_PER_NAME + 2):
        entries.append(cache.obtain("kernel-6.1", key(number), build))
        os.utime(entries[-1], (number, number))
    other = cache.obtain("kernel-6.12", key(0), build)
    cache.prune("kernel-6.1")
    assert [entry.exists() for entry in entries] == [False, False] + [True] * cache.KEPT_PER_NAME
    assert other.exists()


def test_digest_tells_apart_where_one_part_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("ab")
    assert cache.digest(["ab", "c"]) != cache.digest(["a", "bc"])
    assert cache.digest([tmp_path / "file", "c"]) == cache.digest(["ab", "c"])
