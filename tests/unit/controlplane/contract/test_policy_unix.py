# SPDX-License-Identifier: Apache-2.0
"""The unix section: names of sockets, each fault said at its place."""

from __future__ import annotations

import pytest

from controlplane.contract.policy import parse_policy_object

from .documents import faults, parsed, whole

GOOD = ["/run/docker.sock", "/run/nscd/**", "@bus", "@/tmp/.X11-unix/**", "/" + "a" * 107]


def test_names_go_through_unchanged() -> None:
    policy = parsed(unix={"allow": [*GOOD[:1], *({"path": name} for name in GOOD[1:])]})
    assert policy.to_document()["spec"]["unix"] == {"allow": GOOD}
    assert [rule.field_path for rule in policy.spec.unix.allow][-1] == "unix.allow[4]"
    assert parse_policy_object(policy.to_document(), "again") == policy


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run/x", "is not a socket's name: a path starts with '/', an abstract name with '@'"),
        ("", "is not a socket's name"),
        ("@", "'@' is no name"),
        ("/run/*.sock", "'*' inside a path comes with a later version"),
        ("@bus-*", "only '/**' may stand, at the end"),
        ("/run/../x", "has '..' in it"),
        ("/" + "a" * 108, "has 109 bytes, the limit is 108"),
        ("@" + "a" * 108, "has 109 bytes, the limit is 108"),
        ("@a\u202eb", "holds characters that do not print"),
        (7, "expected a socket's name, got the number 7"),
    ],
)
def test_what_is_no_name(name: object, message: str) -> None:
    [(path, text)] = faults(whole(unix={"allow": ["/x", name]}))
    assert path == "spec.unix.allow[1]"
    assert message in text


@pytest.mark.parametrize(
    ("section", "path", "message"),
    [
        ({}, "spec.unix.allow", "is missing: write 'none' to allow nothing"),
        ("some", "spec.unix", "'some' is not any, none or a mapping of rules"),
        ({"allow": [], "deny": []}, "spec.unix.deny", "is not built yet"),
        ({"allow": ["/x"], "sockets": []}, "spec.unix.sockets", "unknown field"),
    ],
)
def test_what_is_no_section(section: object, path: str, message: str) -> None:
    [(at, text)] = faults(whole(unix=section))
    assert at == path
    assert message in text
