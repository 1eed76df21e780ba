# SPDX-License-Identifier: Apache-2.0
"""A PUT is timed through real processes, with an agent that only keeps what it is given."""

from __future__ import annotations

import pytest

from tests.bench import native, puts


def test_puts_are_timed_for_each_number_of_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puts, "SERIES", ((1, 3), (3, 2)))
    monkeypatch.setattr(puts, "WARM_UP", 1)
    found = native.put_times()
    assert [(row["policies"], row["samples"]) for row in found] == [(1, 3), (3, 2)]
    assert all(0 < row["p50"] <= row["p99"] < puts.WAIT_SECONDS * 10**9 for row in found)
