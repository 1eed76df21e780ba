# SPDX-License-Identifier: Apache-2.0
"""The threat model names tests that exist, and every file of guest tests."""

from __future__ import annotations

import re

import pytest

from tests.unit.docs.test_docs import REPOSITORY, page

GUEST = REPOSITORY / "tests/kernel/guest"
TEST = re.compile(r"`(?P<file>[\w/]+\.py)::(?P<name>\w+)`")
NAMED = sorted({match.groups() for match in TEST.finditer(page("docs/threat-model.md"))})
ROW = re.compile(r"^\| (?!class |asset |part |---)(.*) \|$", re.MULTILINE)
SETS = ("Egress", "Exec", "Devices", "Guard", "Blinding", "Endurance", "Attribution")


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_exists(file: str, name: str) -> None:
    path = REPOSITORY / file if "/" in file else GUEST / file
    assert re.search(rf"^def {name}\(", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_file_of_guest_tests_is_named() -> None:
    files = {path.name for path in GUEST.glob("test_*.py")}
    assert files - {file for file, _ in NAMED} == set()


@pytest.mark.parametrize("heading", SETS)
def test_each_class_has_a_test_or_says_that_it_has_none(heading: str) -> None:
    [text] = re.findall(
        rf"^## {heading}\n(.*?)(?=^## |\Z)", page("docs/threat-model.md"), re.MULTILINE | re.DOTALL
    )
    rows = [row.split(" | ") for row in ROW.findall(text)]
    assert rows
    for class_, _, test, *_ in rows:
        assert TEST.search(test) or "no test yet" in test, class_
