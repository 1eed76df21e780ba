# SPDX-License-Identifier: Apache-2.0
"""The table and the page: complete, and deaf to hostile strings."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.replay import demo, judge, page, table
from tests.replay.trajectory import STEPS
from tests.unit.replay import samples

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</pre></details></style>",
    "&lt;b&gt;",
    "\x1b[2J\x1b]0;owned\x07",
    "‮gpj.exe",
]


def full_report(output: str = "") -> dict[str, Any]:
    played = [samples.played(step.id, output=output) for step in STEPS]
    events = [event for step in STEPS for event in samples.good_events(step.id)]
    return judge.build(played, events, "6.1.0", lictor=True)


def baseline() -> dict[str, Any]:
    played = [samples.played(step.id, harmed=step.attack) for step in STEPS]
    return judge.build(played, [], "6.1.0", lictor=False)


class Tags(HTMLParser):
    """Collects the elements and attributes of a page, and whether they nest."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes.update(name for name, _value in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_strings_stay_text_in_the_page(hostile: str) -> None:
    report = full_report(hostile)
    report["steps"][0]["arguments"] = {"command": hostile}
    report["steps"][5]["decisions"][0]["target"] = hostile
    report["kernel"] = hostile
    made = page.render(report)
    tags = Tags()
    tags.feed(made)
    assert tags.open == []
    assert not tags.seen & {"script", "img", "link", "iframe"}
    assert not any(name.startswith("on") for name in tags.attributes)
    assert "\x1b" not in made
    assert "‮" not in made


def test_the_page_fetches_nothing() -> None:
    made = page.render(full_report())
    assert "src=" not in made
    assert "url(" not in made
    assert "@import" not in made


def test_the_page_shows_every_call_and_its_command() -> None:
    made = page.render(demo.combine(full_report(), baseline()))
    for step in STEPS:
        assert page.escape(step.id) in made
        assert page.escape(step.command) in made
    assert "attacks succeeded in the same run without Lictor" in made


def test_the_page_says_when_a_step_did_not_hold() -> None:
    report = full_report()
    report["steps"][3]["held"] = report["held"] = False
    made = page.render(report)
    assert "did not hold</title>" in made
    assert 'class="wrong"' in made


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_strings_cannot_steer_a_terminal(hostile: str) -> None:
    report = full_report()
    report["steps"][5]["decisions"][0]["target"] = hostile
    made = table.render(report)
    assert all(character.isprintable() or character == "\n" for character in made)


def test_the_table_has_every_call_and_the_totals() -> None:
    report = demo.combine(full_report(), baseline())
    made = table.render(report)
    for step in STEPS:
        assert step.id in made
    assert f"{len(STEPS)} of {len(STEPS)} steps held" in made
    assert "without Lictor: 10 of 10 attacks succeeded" in made
    assert max(len(line) for line in made.splitlines()) <= 125


def test_a_demo_is_good_only_if_its_attacks_were_real() -> None:
    report, without = full_report(), baseline()
    assert demo.good(demo.combine(report, without))
    assert not demo.good(demo.combine(report, {**without, "attacks_succeeded": 9}))
    assert not demo.good(demo.combine(report, {**without, "legitimate_right": False}))
    assert not demo.good(demo.combine({**report, "held": False}, without))


@pytest.mark.parametrize("folder", ["with-lictor", "without-lictor"])
def test_a_run_without_a_report_is_named(
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "FOLDER", tmp_path)
    with pytest.raises(RuntimeError, match=f"{folder}/report.json: the run left no report"):
        demo.read(folder)
