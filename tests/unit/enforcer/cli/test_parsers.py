# SPDX-License-Identifier: Apache-2.0
"""Help texts are filled, and the exit statuses at their end keep their lines."""

from __future__ import annotations

import argparse

import pytest

from enforcer.cli.exits import EXIT_CODES
from enforcer.cli.parsers import add_command


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
