# SPDX-License-Identifier: Apache-2.0
"""Names of unix sockets as the kernel finds them: the whole name, or all below a folder."""

from __future__ import annotations

import pytest

from enforcer import abi
from tests.unit.enforcer.kernel_lookup import BASE, Answer, Lookup
from tests.unit.enforcer.test_compiler import compiled

LONGEST = "/" + "a" * 107


def lookup(*names: str, held: int = BASE, **more: object) -> Lookup:
    return Lookup(compiled(unix={"allow": list(names)}, **more), held)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (b"/run/docker.sock", Answer(True, "unix.allow[0]")),
        (b"/run/docker.soc", Answer(False)),
        (b"/run/docker.sock2", Answer(False)),
        (b"/run/docker.sock/x", Answer(False)),
        (b"/run/nscd/socket", Answer(True, "unix.allow[1]")),
        (b"/run/nscd/", Answer(True, "unix.allow[1]")),
        (b"/run/nscd", Answer(False)),
        (b"@bus", Answer(True, "unix.allow[2]")),
        (b"@bus@", Answer(False)),
        (b"bus", Answer(False)),
        (b"@/tmp/x", Answer(True, "unix.allow[3]")),
        (b"/tmp/x", Answer(False)),
        (LONGEST.encode(), Answer(True, "unix.allow[4]")),
        (LONGEST[:-1].encode(), Answer(False)),
        (b"", Answer(False)),
    ],
)
def test_a_name_is_the_whole_name_or_below_a_folder(name: bytes, answer: Answer) -> None:
    rules = ("/run/docker.sock", "/run/nscd/**", "@bus", "@/tmp/**", LONGEST)
    assert lookup(*rules).reach(name) == answer


def test_the_longest_rule_is_named() -> None:
    rules = ("/run/**", "/run/nscd/socket", "/run/nscd/**")
    for name, rule in (("/run/x", 0), ("/run/nscd/socket", 1), ("/run/nscd/x", 2)):
        assert lookup(*rules).reach(name.encode()) == Answer(True, f"unix.allow[{rule}]")


def test_grants_add_to_the_base() -> None:
    grants = {"trainer": {"unix": {"allow": ["/run/**"]}}, "tools": {"unix": "any"}}
    policy = compiled(unix={"allow": ["/run/a"]}, grants=grants)
    for held, name, answer in (
        (BASE, "/run/a", Answer(True, "unix.allow[0]")),
        (BASE, "/run/b", Answer(False)),
        (BASE | 2, "/run/a", Answer(True, "unix.allow[0]")),
        (BASE | 2, "/run/b", Answer(True, "grants.trainer.unix.allow[0]")),
        (BASE | 4, "@x", Answer(True, "grants.tools.unix")),
    ):
        assert Lookup(policy, held).reach(name.encode()) == answer


@pytest.mark.parametrize(("section", "allowed"), [("any", True), ("none", False)])
def test_a_section_of_one_word_needs_no_entries(section: str, allowed: bool) -> None:
    policy = compiled(unix=section)
    assert Lookup(policy).reach(b"/x").allowed == allowed
    assert policy.unix_names == []


def test_ruleset_0_is_no_policys() -> None:
    """What is written there holds for all: no policy may ever have that number."""
    assert all(key.ruleset == 7 for key, _ in compiled(unix={"allow": ["/x"]}).unix_names)
    assert len(LONGEST) < abi.UNIX_NAME_SIZE
