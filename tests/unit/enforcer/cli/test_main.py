# SPDX-License-Identifier: Apache-2.0
"""`lictor` teaches by --help, and ends with the status that its help names."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from controlplane.contract.wire import RequestError
from enforcer.cli import exits
from enforcer.cli.main import COMMANDS, main
from tests.unit.enforcer.cli.conftest import StartAgent

ACTIONS = {
    "policy": (
        "validate",
        "apply",
        "list",
        "show",
        "remove",
        "history",
        "rollback",
        "diff",
        "allow",
    ),
    "call": ("exec", "begin", "end"),
    "incidents": ("show", "acknowledge", "false-positive", "reopen"),
    "episodes": ("show", "open", "close"),
    "token": ("create", "list", "revoke"),
}
HELPFUL = [[], *([name] for name in COMMANDS)]
HELPFUL += [[name, action] for name, actions in ACTIONS.items() for action in actions]


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    """(exit status, standard output, standard error) of a run that argparse ends."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    output = capsys.readouterr()
    return caught.value.code, output.out, output.err


@pytest.mark.parametrize("arguments", HELPFUL, ids=lambda words: " ".join(words) or "-")
def test_help_names_the_exit_codes(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, output, _ = shown([*arguments, "--help"], capsys)
    assert status == 0
    assert exits.EXIT_CODES in output
    assert output.startswith(f"usage: lictor {' '.join(arguments)}".rstrip())
    assert max(map(len, output.splitlines())) <= 100


def test_help_lists_every_command_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    _, output, _ = shown(["--help"], capsys)
    for name, (_, text) in COMMANDS.items():
        assert re.search(rf"^ +{name}\s+{re.escape(text.split()[0])} ", output, re.MULTILINE)


def test_every_exit_code_is_in_the_text() -> None:
    named = {value for name, value in vars(exits).items() if name.startswith("EXIT_")}
    numbers = {int(found) for found in re.findall(r"\b\d+(?=  )", exits.EXIT_CODES)}
    assert {value for value in named if isinstance(value, int)} <= numbers | {0}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "required: COMMAND"),
        (["uplift"], "invalid choice: 'uplift'"),
        (["policy"], "required: ACTION"),
        (["run", "--", "true"], "required: --policy"),
        (["run", "--policy", "p"], "required: COMMAND"),
        (["call", "exec", "--", "true"], "required: --id"),
        (["call", "begin", "--id", "c", "--target", "x"], "invalid int value: 'x'"),
        (["call", "end", "seven"], "invalid int value: 'seven'"),
        (["events", "--decision", "maybe"], "invalid choice: 'maybe'"),
        (["down", "--force"], "unrecognized arguments: --force"),
    ],
)
def test_wrong_usage_is_status_2(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, errors = shown(arguments, capsys)
    assert status == exits.EXIT_USAGE
    assert text in errors


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(["--version"], capsys)[:2] == (0, "lictor 0.1.0\n")


def test_no_agent_is_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "list"]) == exits.EXIT_UNAVAILABLE
    assert "no agent answers; start it: lictor up" in capsys.readouterr().err


def test_a_refusal_is_status_1_and_its_reason(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> dict[str, object]:
        raise RequestError("unknown_policy", "policy x: is not in force")

    start_agent("admin", policy_show=refuse)
    assert main(["policy", "show", "x"]) == exits.EXIT_FAILED
    assert capsys.readouterr().err == "lictor: policy x: is not in force\n"


def imported(code: str) -> set[str]:
    """What a Python process has imported when it has done that."""
    output = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules, sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(output.stdout.split())


@pytest.mark.parametrize("words", [["call", "exec"], ["run"]], ids=" ".join)
def test_starting_a_command_imports_little(words: list[str]) -> None:
    """`lictor call exec` and `lictor run` stand before every command of an executor."""
    found = imported(f"from enforcer.cli.main import build_parser; build_parser({words})")
    heavy = {"asyncio", "bcc", "pydantic", "yaml", "loguru", "sqlite3", "aiohttp", "sqlalchemy"}
    assert heavy & found == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_http_and_no_database(name: str) -> None:
    found = imported(f"from enforcer.cli.main import build_parser; build_parser(['{name}'])")
    assert found & {"aiohttp", "sqlalchemy"} == set()


@pytest.mark.parametrize(
    "words", [["events"], ["workloads"], ["policy", "list", "--node-only"]], ids=" ".join
)
def test_what_asks_the_node_imports_no_http(words: list[str]) -> None:
    assert "aiohttp" not in imported(f"from enforcer.cli.main import main; main({words})")
