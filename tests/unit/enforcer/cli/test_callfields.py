# SPDX-License-Identifier: Apache-2.0
"""The description of a tool call, from a command line to the fields of a begin."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from controlplane.contract.wire import FrameReader, encode
from enforcer.cli.callfields import add_call_fields, call_fields


def fields(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_call_fields(parser, "--id", required=True)
    return call_fields(parser.parse_args(["--id", "call-1", *words]))


def test_what_is_not_said_is_null() -> None:
    assert fields() == {
        "id": "call-1", "episode": None, "step": None, "tool": None, "arguments": None,
    }  # fmt: skip


def test_everything_has_its_field() -> None:
    words = ["--episode", "e", "--step", "3", "--tool", "bash", "--arguments", '{"cmd": ["ls"]}']
    assert fields(*words) == {
        "id": "call-1", "episode": "e", "step": 3, "tool": "bash", "arguments": {"cmd": ["ls"]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ("7", 7), ("null", None), ('"text"', "text"), ("", ""), ("{broken", "{broken"),
        ("ls -l", "ls -l"), ("[" * 100_000, "[" * 100_000), ("NaN x", "NaN x"),
    ],
)  # fmt: skip
def test_arguments_that_are_not_json_are_the_text_they_are(given: str, arguments: Any) -> None:
    assert fields("--arguments", given)["arguments"] == arguments


@pytest.mark.parametrize(
    "given",
    [
        '"\\ud800"',
        '{"\\udfff": 1}',
        "1" * 30,
        "[" * 2000 + "]" * 2000,
        '{"a": [-9999999999999999999]}',
    ],
    ids=lambda text: text[:12],
)
def test_json_that_the_wire_cannot_carry_goes_as_text(given: str) -> None:
    found = fields("--arguments", given)
    assert found["arguments"] == given
    assert list(FrameReader().feed(encode(found))) == [found]
