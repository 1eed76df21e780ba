# SPDX-License-Identifier: Apache-2.0
"""Which of the design's numbers hold follows from the medians alone."""

from __future__ import annotations

import pytest

from tests.bench.targets import LIMITS, Limit, Repetition, added, all_added, findings
from tests.unit.bench.samples import KINDS, boot


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.what)
@pytest.mark.parametrize(("over", "holds"), [(0, True), (1, False)])
def test_a_number_holds_up_to_its_limit(limit: Limit, over: int, holds: bool) -> None:
    raw = boot(**{limit.place: {limit.kinds[-1]: limit.most + over}})
    found = {finding.what: finding for finding in findings(raw)}[limit.what]
    assert (found.measured, found.holds) == (limit.most + over, holds)


def test_every_limit_is_about_attempts_that_are_made() -> None:
    assert {kind for limit in LIMITS for kind in limit.kinds} <= set(KINDS)


def test_loader_and_agent_are_judged_too() -> None:
    raw = boot()
    raw["loader"]["instructions"] = 6_000_000_001
    raw["agent"]["after_events"]["VmRSS"] = 48 * 1024
    assert [finding.holds for finding in findings(raw)[-2:]] == [False, True]


def test_what_is_added_is_against_the_same_cgroup_with_nothing_loaded() -> None:
    counts = boot(inside={"exec": 7000})["counts"]
    counts["none"]["outside"]["exec"]["median"] = 1
    assert added(counts, "lictor", "inside", "exec") == 7000
    assert all_added(counts)["lictor"]["inside"]["exec"] == {"added": 7000}
    assert "none" not in all_added(counts)


def test_the_worst_disagreement_between_runs_is_named() -> None:
    counts = boot()["counts"]
    assert Repetition.of(counts).same == Repetition.of(counts).cases
    counts["floor"]["inside"]["fork"]["again"] = 1001
    counts["none"]["outside"]["exec"]["again"] = 980
    found = Repetition.of(counts)
    assert found.same == found.cases - 2
    assert (found.worst, found.worst_difference) == ("exec, none, outside", 20)
    assert found.worst_percent == 2.0
