# SPDX-License-Identifier: Apache-2.0
"""`lictor policy diff` shows what differs in meaning, between revisions and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.contract.wire import RequestError
from enforcer.cli.main import main
from tests.unit.controlplane.contract.documents import whole
from tests.unit.enforcer.cli.conftest import StartAgent

REVISIONS = {3: whole(unix="none"), 4: whole(mode="audit", unix="none")}


@pytest.fixture(autouse=True)
def agent(start_agent: StartAgent) -> None:
    def show(message: dict[str, Any]) -> dict[str, Any]:
        number = message.get("revision", 4)
        if message["name"] != "rl" or number not in REVISIONS:
            raise RequestError("unknown_policy", f"policy {message['name']}: no {number}")
        return {"policy": {"name": "rl", "revision": number, "document": REVISIONS[number]}}

    start_agent("admin", policy_show=show)


def diff(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["policy", "diff", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_two_revisions(capsys: pytest.CaptureFixture[str]) -> None:
    lines = diff(capsys, "rl@3", "rl")
    assert lines[:2] == ["--- rl@3", "+++ rl@4"]
    assert [line for line in lines[2:] if line[0] in "+-"] == ["-  mode: enforce", "+  mode: audit"]


def test_a_file_and_what_is_in_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# a comment\n" + yaml.safe_dump(whole(mode="audit", egress="none")))
    lines = diff(capsys, "rl", str(path))
    assert lines[:2] == ["--- rl@4", f"+++ {path}"]
    assert "+  egress: none" in lines
    assert not any("comment" in line for line in lines)


def test_what_says_the_same_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(capsys, "rl@4", "rl") == []


def test_as_json_it_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    main(["policy", "diff", "rl@3", "rl@4", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["before"] == {"name": "rl", "revision": 3, "source": "rl@3"}
    assert found["after"] == {"name": "rl", "revision": 4, "source": "rl@4"}
    assert found["same"] is False
    assert "+  mode: audit\n" in found["diff"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("rl@", "policy rl@: after '@' comes the number of a revision"),
        ("rl@x", "policy rl@x: after '@' comes the number of a revision"),
        ("rl@0", "policy rl@0: after '@' comes the number of a revision"),
        ("rl@9", "policy rl: no 9"),
        ("gone", "policy gone: no 4"),
        ("/absent.yaml", "/absent.yaml"),
    ],
)
def test_a_side_that_is_not_there_is_named(
    given: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "diff", "rl", given]) == 1
    assert text in capsys.readouterr().err
