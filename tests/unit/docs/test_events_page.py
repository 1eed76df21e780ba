# SPDX-License-Identifier: Apache-2.0
"""docs/events.md shows events as they are: every kind, every word, every field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from controlplane.contract.event import AGENT_KINDS, Attribution
from enforcer import abi
from enforcer.abi import Decision, EventKind, Reason
from enforcer.decode import Decoder
from enforcer.exemptions import Cause
from tests.unit.enforcer.records import KnownNames, record

PAGE = (Path(__file__).parents[3] / "docs/events.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES: dict[str, dict[str, Any]] = {event["kind"]: event for event in map(json.loads, BLOCKS)}
CALL_FIELDS = {"number", "id", "episode", "step", "tool", "state"}


def test_every_kind_has_an_example() -> None:
    assert set(EXAMPLES) == {kind.name.lower() for kind in EventKind} | AGENT_KINDS


@pytest.mark.parametrize("kind", sorted(AGENT_KINDS))
def test_an_example_of_the_agents_own_has_no_number(kind: str) -> None:
    made = Decoder("node", "boot", 0.0, KnownNames()).made_here(kind, 1, 2, Decision.AUDITED)
    example = EXAMPLES[kind]
    assert set(example) == {*made, "subject", "object"}
    assert set(example["tag"]) == set(made["tag"])
    assert example["sequence"] is None


def test_every_cause_of_an_exemptions_end_is_explained() -> None:
    assert [f"| `{cause}` |" in PAGE for cause in get_args(Cause)] == [True] * len(get_args(Cause))


@pytest.mark.parametrize("kind", list(EventKind), ids=lambda kind: kind.name.lower())
def test_an_example_has_the_fields_of_a_decoded_event(kind: EventKind) -> None:
    path = b"/usr/bin/ssh" if kind in (EventKind.EXEC, EventKind.MAPPING) else None
    decoded = Decoder("node", "boot", 0.0, KnownNames()).decode(record(kind, path=path))
    example = EXAMPLES[kind.name.lower()]
    for part in ("subject", "object", "tag"):
        assert set(example[part]) == set(decoded[part])
    assert set(example) == set(decoded)
    assert example["version"] == decoded["version"]
    if example["tag"]["call"] is not None:
        assert set(example["tag"]["call"]) == CALL_FIELDS


@pytest.mark.parametrize(
    "word",
    [
        *(reason.name.lower() for reason in Reason),
        *(decision.name.lower() for decision in Decision),
        *get_args(Attribution),
        *("active", "ended", "after", "unknown"),
    ],
)
def test_a_word_of_the_schema_is_explained(word: str) -> None:
    assert re.search(rf"^\| `{word}` \|", PAGE, re.MULTILINE)


def test_the_ring_sizes_are_those_of_the_kernel_programs() -> None:
    assert f"{abi.DENIAL_QUOTA >> 10} KiB of unread denials" in PAGE
