# SPDX-License-Identifier: Apache-2.0
"""Guards are closed unless a policy names them, and only names that exist open one."""

from __future__ import annotations

from typing import get_args

import pytest

from controlplane.contract.policy_guards import GuardName
from enforcer.abi import Guard
from tests.unit.controlplane.contract.documents import faults, parsed, whole


def test_the_names_are_those_of_the_kernel_programs() -> None:
    assert list(get_args(GuardName)) == [guard.name.lower() for guard in Guard]


def test_what_is_not_named_is_closed_and_is_not_written() -> None:
    policy = parsed()
    assert policy.spec.guards.allow == ()
    assert "guards" not in policy.to_document()["spec"]
    assert policy.spec.guards.rule_of("mount") is None


def test_an_open_guard_has_a_place_and_is_written() -> None:
    policy = parsed(guards={"allow": ["mount", "trace"]})
    assert policy.spec.guards.rule_of("trace") == "guards.allow[1]"
    assert policy.to_document()["spec"]["guards"] == {"allow": ["mount", "trace"]}


@pytest.mark.parametrize(
    ("guards", "path", "message"),
    [
        ({"allow": ["mounts"]}, "spec.guards.allow[0]", "'mounts' is not 'trace', 'signal',"),
        ({"allow": ["mount", "mount"]}, "spec.guards.allow[1]", "is the same as allow[0]"),
        ({"allow": "any"}, "spec.guards.allow", "expected a list"),
        ("any", "spec.guards", "expected a mapping with `allow`, a list of guards"),
        ({"deny": ["trace"]}, "spec.guards.deny", "is not built yet"),
        ({"alow": []}, "spec.guards.alow", "unknown field; did you mean 'allow'?"),
    ],
)
def test_a_fault_names_its_place(guards: object, path: str, message: str) -> None:
    [(found, text)] = faults(whole(guards=guards))
    assert found == path
    assert text.startswith(message)
