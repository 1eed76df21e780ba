# SPDX-License-Identifier: Apache-2.0
"""Numbers in a message mean the sender's own threads and processes, whatever its namespace."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from enforcer.peers import Peer, host_process, host_thread, peer_of, start_time, threads_of

ME = Peer(os.getpid(), os.getuid())
ABSENT = 4_194_305  # above the kernel's largest process id

# Process 1 of a new pid namespace, with a child; tells that it is ready and waits for its end.
INSIDE = """\
import os, sys
if child := os.fork():
    print(os.getpid(), child, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def inside() -> Iterator[Peer]:
    """The first process of another pid namespace."""
    with subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", INSIDE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "1 2\n"
        [first] = _children(process.pid)
        yield Peer(first, 0)
        process.terminate()


def _children(pid: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 (names of processes)
        if entry.isdigit() and _parent(int(entry)) == pid:
            found.append(int(entry))
    return sorted(found)


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_of(one) == ME


def test_a_process_is_told_from_a_later_one_by_its_start() -> None:
    assert start_time(ME.pid) == start_time(ME.pid)
    assert start_time(ME.pid) != start_time(1)


def test_a_thread_is_the_senders_own() -> None:
    found, done = threading.Event(), threading.Event()
    numbers: list[int] = []

    def work() -> None:
        numbers.append(threading.get_native_id())
        found.set()
        done.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    found.wait(10)
    assert host_thread(ME, numbers[0]) == numbers[0]
    assert set(numbers) < set(threads_of(ME.pid))
    done.set()
    thread.join()


@pytest.mark.parametrize("number", [1, ABSENT, 0, -5])
def test_a_thread_of_another_process_is_none_of_the_senders(number: int) -> None:
    assert host_thread(ME, number) is None


def test_a_process_of_the_hosts_namespace_is_itself() -> None:
    assert host_process(ME, ME.pid) == ME.pid
    assert host_process(ME, ABSENT) is None


def test_numbers_inside_a_namespace_are_translated(inside: Peer) -> None:
    [child] = _children(inside.pid)
    assert host_process(inside, 1) == inside.pid
    assert host_process(inside, 2) == child
    assert host_thread(inside, 1) == inside.pid
    assert host_process(Peer(child, 0), 1) == inside.pid


def test_a_host_number_said_inside_a_namespace_is_nobody(inside: Peer) -> None:
    assert inside.pid > 2
    assert host_process(inside, inside.pid) is None
    assert host_process(inside, ME.pid) is None
    assert host_thread(inside, inside.pid) is None


def test_a_process_that_is_gone_has_no_threads_and_names_nobody() -> None:
    assert threads_of(ABSENT) == []
    assert start_time(ABSENT) is None
    assert host_process(Peer(ABSENT, 0), 1) is None
    assert host_thread(Peer(ABSENT, 0), 1) is None
