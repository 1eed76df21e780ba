# SPDX-License-Identifier: Apache-2.0
"""The offset of atomic time is whole seconds, whenever in between the two clocks are read."""

from __future__ import annotations

import time

import pytest

from enforcer import clock

WALL = 1_800_000_000_123_456_789


@pytest.mark.parametrize("delay", [0, 1, 499_999_999, -1])
@pytest.mark.parametrize("seconds", [0, 37])
def test_the_offset_is_in_whole_seconds(
    seconds: int, delay: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = {time.CLOCK_REALTIME: WALL, time.CLOCK_TAI: WALL + seconds * clock.SECOND + delay}
    monkeypatch.setattr(time, "clock_gettime_ns", clocks.__getitem__)
    assert clock.tai_offset() == seconds * clock.SECOND
