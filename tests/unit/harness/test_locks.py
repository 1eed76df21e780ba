# SPDX-License-Identifier: Apache-2.0
"""The locks pin all that is asked for, with hashes, and tests run on what is shipped."""

import re
from pathlib import Path

import pytest

from tests.kernel.harness.image import RUNTIME_LOCK, TEST_LOCK

ASKED = re.compile(r"^([A-Za-z0-9-]+)==(\S+)$", re.MULTILINE)
PIN = re.compile(r"^([a-z0-9-]+)==(\S+) \\$", re.MULTILINE)


def pins(lock: Path) -> dict[str, str]:
    return dict(PIN.findall(lock.read_text()))


@pytest.mark.parametrize("lock", [RUNTIME_LOCK, TEST_LOCK], ids=["runtime", "tests"])
def test_what_is_asked_for_is_locked(lock: Path) -> None:
    asked = ASKED.findall(lock.with_suffix(".in").read_text())
    assert asked
    assert {name.lower(): version for name, version in asked}.items() <= pins(lock).items()


def test_tests_run_on_what_is_shipped() -> None:
    assert pins(RUNTIME_LOCK).items() <= pins(TEST_LOCK).items()


def test_locks_name_no_host() -> None:
    for path in (RUNTIME_LOCK, TEST_LOCK):
        assert "://" not in path.read_text()
