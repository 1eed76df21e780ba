# SPDX-License-Identifier: Apache-2.0
"""An exemption is what the kernel holds; the record says who asked, and notices every end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from enforcer import abi, cgroups, exemptions, paths
from enforcer.exemptions import UNRECORDED, Cause, Exemption, Exemptions, exemption_row
from tests.unit.enforcer.tables import MemoryMaps

WORKLOAD, PATH = 77, "/rl.slice/job"


class Held:
    """Exemptions over maps in memory; `now` is the boot's clock, in ns."""

    def __init__(self) -> None:
        self.maps: Any = MemoryMaps()
        self.maps.scopes.put(WORKLOAD, abi.Scope(workload=WORKLOAD, policy=3))
        self.exemptions = self.restart()
        self.now = 10**12
        self.ended: list[tuple[Exemption, Cause]] = []

    def restart(self) -> Exemptions:
        return Exemptions(self.maps)

    def begin(self, workload: int = WORKLOAD, seconds: float = 60) -> Exemption:
        made = self.exemptions.prepare(workload, PATH, seconds, "why", 1000)
        self.exemptions.begin(made)
        return made

    def sweep(self) -> list[Cause]:
        self.ended.clear()
        self.exemptions.sweep(lambda exemption, cause: self.ended.append((exemption, cause)))
        return [cause for _, cause in self.ended]


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Held:
    monkeypatch.setattr(paths, "EXEMPTIONS", tmp_path / "exemptions.json")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    made = Held()
    monkeypatch.setattr(exemptions, "_now", lambda: made.now)
    return made


def test_the_kernel_is_told_until_when_by_its_own_clock(held: Held) -> None:
    made = held.begin(seconds=1.5)
    entry = held.maps.exemptions.get(WORKLOAD)
    assert entry.until == made.until == held.now + 1_500_000_000
    assert held.exemptions.active() == {WORKLOAD: made}
    assert (made.path, made.policy, made.reason, made.uid) == (PATH, 3, "why", 1000)


def test_who_asked_is_on_record_before_the_kernel_knows(held: Held) -> None:
    made = held.exemptions.prepare(WORKLOAD, PATH, 60, "why", 1000)
    [row] = json.loads(paths.EXEMPTIONS.read_text())["exemptions"]
    assert row["workload"] == WORKLOAD
    assert held.maps.exemptions.get(WORKLOAD) is None
    assert held.exemptions.active() == {}
    held.exemptions.begin(made)
    assert held.exemptions.active() == {WORKLOAD: made}


def test_again_is_instead(held: Held) -> None:
    held.begin(seconds=600)
    second = held.begin(seconds=5)
    assert held.exemptions.active() == {WORKLOAD: second}
    assert held.sweep() == []


def test_an_agent_that_starts_anew_knows_what_is_exempt(held: Held) -> None:
    made = held.begin()
    assert held.restart().active() == {WORKLOAD: made}


def test_it_expires_by_itself_and_the_sweep_tells_once(held: Held) -> None:
    made = held.begin(seconds=60)
    held.now = made.until - 1
    assert (held.sweep(), list(held.exemptions.active())) == ([], [WORKLOAD])
    held.now = made.until
    assert held.exemptions.active() == {}
    assert held.sweep() == ["expired"]
    assert held.ended[0][0] == made
    assert held.maps.exemptions.get(WORKLOAD) is None
    assert held.sweep() == []


def test_it_is_ended_at_once_and_forgotten(held: Held) -> None:
    made = held.begin()
    assert held.exemptions.end(WORKLOAD) == made
    assert held.maps.exemptions.get(WORKLOAD) is None
    held.exemptions.forget(WORKLOAD)
    held.exemptions.forget(WORKLOAD)
    assert held.sweep() == []
    assert held.exemptions.end(WORKLOAD) is None


def test_it_goes_with_its_workload(held: Held) -> None:
    held.begin()
    held.maps.scopes.delete(WORKLOAD)
    assert held.sweep() == ["workload_ended"]
    assert held.maps.exemptions.get(WORKLOAD) is None


def test_what_an_unload_took_from_the_kernel_is_told(held: Held) -> None:
    held.begin()
    held.maps.exemptions.delete(WORKLOAD)
    assert held.exemptions.active() == {}
    assert held.sweep() == ["lost"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"exemptions": [{"workload": 77}]}'])
def test_what_is_on_no_record_is_shown_and_then_ended(held: Held, text: str) -> None:
    held.begin()
    paths.EXEMPTIONS.write_text(text)
    [found] = held.exemptions.active().values()
    assert (found.path, found.reason) == (f"cgroup-{WORKLOAD}", UNRECORDED)
    assert held.sweep() == []
    assert held.maps.exemptions.get(WORKLOAD) is None


def test_a_full_table_is_an_error_that_names_it(held: Held) -> None:
    held.maps.exemptions.room = 1
    held.begin()
    with pytest.raises(OSError, match="map exemptions: update"):
        held.begin(workload=78)


def test_a_row_says_until_when_by_the_wall_clock(held: Held) -> None:
    row = exemption_row(held.begin(seconds=60))
    assert row["until"] == pytest.approx(time.time() + 60, abs=5)
    assert (row["workload"], row["workload_id"], row["remaining"]) == (PATH, WORKLOAD, 60.0)
    assert (row["reason"], row["uid"]) == ("why", 1000)
