# SPDX-License-Identifier: Apache-2.0
"""docs/policies.md describes the language as it is: its example parses, its lists are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controlplane.contract.policy import Spec, parse_policy
from controlplane.contract.policy_devices import NAMED_DEVICES

PAGE = (Path(__file__).parents[4] / "docs/policies.md").read_text(encoding="utf-8")


def test_the_example_parses() -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert parse_policy(example, "docs/policies.md").name == "rl-sandbox"


@pytest.mark.parametrize("field", sorted(Spec.model_fields))
def test_a_field_is_documented(field: str) -> None:
    assert f"| `spec.{field}` |" in PAGE


@pytest.mark.parametrize("name", sorted(NAMED_DEVICES))
def test_a_named_device_is_documented(name: str) -> None:
    assert f"`{name}`" in PAGE
