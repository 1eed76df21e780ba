# SPDX-License-Identifier: Apache-2.0
"""What is read of a process is that process's, and a percentile is one of the samples."""

from __future__ import annotations

import os
import threading
import time

import pytest

from tests.bench import measuring


def test_cpu_time_is_that_of_all_threads_ended_ones_too() -> None:
    def work() -> None:
        began = time.thread_time_ns()
        while time.thread_time_ns() < began + 50_000_000:
            pass

    before = measuring.cpu_nanoseconds(os.getpid())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    used = measuring.cpu_nanoseconds(os.getpid()) - before
    assert used >= 50_000_000
    assert abs(measuring.cpu_nanoseconds(os.getpid()) - time.process_time_ns()) < 50_000_000


def test_cpu_time_of_no_process_is_an_error() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        measuring.cpu_nanoseconds(4_000_000)


def test_memory_is_told_by_kind() -> None:
    found = measuring.memory(os.getpid())
    assert found["VmRSS"] == found["RssAnon"] + found["RssFile"] + found["RssShmem"] > 0


def test_busy_time_is_summed_over_processors() -> None:
    text = (
        "version 15\ntimestamp 4294950000\n"
        "cpu0 0 0 0 0 0 0 1000 7 3\ndomain0 3 0 0 0 0 0 0 9\ncpu1 0 0 0 0 0 0 30 7 3\n"
    )
    assert measuring.busy_nanoseconds(text) == 1030


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (50.5, 51), (99, 99), (100, 100)]
)
def test_a_percentile_is_the_least_sample_that_so_many_keep_within(
    percent: float, expected: int
) -> None:
    assert measuring.percentile(list(range(100, 0, -1)), percent) == expected


def test_the_only_sample_is_every_percentile() -> None:
    assert [measuring.percentile([7], percent) for percent in (0, 50, 99)] == [7, 7, 7]
