# SPDX-License-Identifier: Apache-2.0
"""Help texts are filled, and the exit statuses at their end keep their lines."""

from __future__ import annotations

import argparse

import pytest

from enforcer.cli.exits import EXIT_CODES
from enforcer.cli.parsers import CommandParser, add_command


def helped(capsys: pytest.CaptureFixture[str], description: str | None) -> str:
    parser = argparse.ArgumentParser(prog="lictor")
    add_command(parser.add_subparsers(), "hold", "hold what is there", description)
    with pytest.raises(SystemExit):
        parser.parse_args(["hold", "--help"])
    return capsys.readouterr().out


def test_the_line_of_the_list_is_the_description(capsys: pytest.CaptureFixture[str]) -> None:
    output = helped(capsys, None)
    assert "\nHold what is there.\n" in output
    assert output.endswith(EXIT_CODES)


def test_a_long_description_is_filled(capsys: pytest.CaptureFixture[str]) -> None:
    output = helped(capsys, "word " * 60)
    assert max(map(len, output.splitlines())) <= 100
    assert output.count("word") == 60


@pytest.mark.parametrize(
    ("words", "action", "name"),
    [
        ([], "show", None),
        (["x"], "show", "x"),
        (["--deep"], "show", None),
        (["x", "--deep"], "show", "x"),
        (["show", "close"], "show", "close"),
        (["close"], "close", None),
        (["close", "x"], "close", "x"),
    ],
)
def test_the_implied_action_need_not_be_written(
    words: list[str], action: str, name: str | None
) -> None:
    parser = CommandParser(prog="lictor")
    things = add_command(parser.add_subparsers(), "things", "things")
    actions = things.add_subparsers(dest="action")
    for each in ("show", "close"):
        action_parser = add_command(actions, each, each)
        action_parser.add_argument("name", nargs="?")
        action_parser.add_argument("--deep", action="store_true")
    things.imply("show", actions.choices)
    found = parser.parse_args(["things", *words])
    assert (found.action, found.name, found.deep) == (action, name, "--deep" in words)
