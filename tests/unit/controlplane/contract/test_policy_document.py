# SPDX-License-Identifier: Apache-2.0
"""Whatever the bytes, the reader answers with plain data or with a PolicyError that says why."""

from __future__ import annotations

import time

import pytest

from controlplane.contract.policy import PolicyError, parse_policy, parse_policy_object
from controlplane.contract.policy_document import MAXIMUM_BYTES, read_document


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("\ufeff", "is empty"),
        ("# only a comment\n", "a policy is a mapping, got nothing"),
        ("rl-sandbox", "a policy is a mapping, got 'rl-sandbox' (line 1)"),
        ("- a\n- b\n", "a policy is a mapping, got a list (line 1)"),
        ("a: 1\n---\nb: 2\n", "holds several documents: write one policy per file (line 2)"),
        ("a: &x [1]\nb: *x\n", "YAML anchor '&x' is refused: write the value out (line 1)"),
        ("a: *x\n", "YAML alias '*x' is refused: write the value out (line 1)"),
        ("a: {<<: {b: 1}}\n", "a: YAML merge '<<' is refused: write the fields out (line 1)"),
        ("a: !!python/name:os.system\n", "YAML tag 'tag:yaml.org,2002:python/name:os.system' is"),
        ("a: !!binary aGk=\n", "YAML tag 'tag:yaml.org,2002:binary' is refused"),
        ("? [a]\n: b\n", "has a key that is not text (line 1)"),
        ("a: [1, 2\n", "is not YAML: "),
        ("a: 1\n\tb: 2\n", "the line holds a tab: indent with spaces (line 2)"),
        ("a: @b\n", "is not YAML: found character that cannot start any token (line 1)"),
        ('a: "\x00"\n', "is not YAML: "),
        ('{"a": "\\ud800"}', "is not YAML: "),
        ("a: \ud800", "holds broken Unicode (a lone surrogate)"),
        (b"a: 1\nb: \xff\xfe\n", "is not UTF-8: byte 0xff (line 2)"),
        ("a: " + "[" * 40, "is nested deeper than 16 levels (line 1)"),
        ('a: "\\x1b[2J"\n', "a: holds control characters or broken Unicode (line 1)"),
        ('"\\x07": 1\n', "has a key that is not plain text: '\\x07' (line 1)"),
        ("a" * (MAXIMUM_BYTES + 1), "is larger than 1048576 bytes"),
        ("ä" * (MAXIMUM_BYTES // 2 + 1), "is larger than 1048576 bytes"),
    ],
)
def test_an_unreadable_text_is_refused_with_its_cause(text: str | bytes, fault: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        parse_policy(text, "file broken.yaml")
    assert str(refusal.value).startswith("policy in file broken.yaml: ")
    assert fault in str(refusal.value)


def test_a_field_written_twice_is_named_with_both_lines_beside_other_faults() -> None:
    with pytest.raises(PolicyError) as refusal:
        parse_policy("metadata:\n  name: a\n  name: b\nkind: Policy\n", "f")
    messages = [str(fault) for fault in refusal.value.faults]
    assert "metadata.name: is written twice, first in line 2 (line 3)" in messages
    assert "apiVersion: is missing (line 1)" in messages


def test_scalars_follow_yaml_1_2() -> None:
    text = "[no, on, yes, 195:0, 0x10, 010, 1.5, 2026-11-23, true, 12, ~, null, '12', -3]"
    assert read_document(text, "f").value == [
        *("no", "on", "yes", "195:0", "0x10", "010", "1.5", "2026-11-23"),
        *(True, 12, None, None, "12", -3),
    ]


def test_a_number_too_long_for_python_is_text() -> None:
    assert read_document("a: " + "9" * 5000, "f").value == {"a": "9" * 5000}


def test_json_is_yaml() -> None:
    assert read_document('{"a": {"b": [1, "x"]}}', "f").value == {"a": {"b": [1, "x"]}}


def test_lines_of_fields_and_of_what_is_missing() -> None:
    document = read_document("a:\n  b:\n    - 1\n    - 2\n", "f")
    assert document.line_of(("a", "b", 1)) == 4
    assert document.line_of(("a", "missing", "field")) == 1


@pytest.mark.parametrize(
    "text", ["[" * MAXIMUM_BYTES, "a: " * (MAXIMUM_BYTES // 3), "- " * (MAXIMUM_BYTES // 2)]
)
def test_a_bomb_is_refused_at_once(text: str) -> None:
    begin = time.monotonic()
    with pytest.raises(PolicyError):
        parse_policy(text, "f")
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, "a policy is a mapping, got nothing"),
        ([], "a policy is a mapping, got a list"),
        ({"spec": 1.5}, "spec: a float has no place in a policy"),
        ({"spec": b"x"}, "spec: a bytes has no place in a policy"),
        ({1: 2}, "has a key that is not plain text: the number 1"),
        ({"kind": "\ud800"}, "kind: holds control characters or broken Unicode"),
        ({"kind": 10**5000}, "kind: a number beyond 64 bits is not 'Policy'"),
    ],
)
def test_plain_data_that_is_no_policy_is_refused(value: object, fault: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        parse_policy_object(value, "PUT /v1/policies/a")
    assert f"policy in PUT /v1/policies/a: {fault}" in str(refusal.value)


def test_plain_data_may_not_be_nested_without_end() -> None:
    value: dict[str, object] = {}
    value["spec"] = value
    with pytest.raises(PolicyError, match="is nested deeper than 16 levels"):
        parse_policy_object(value, "f")
