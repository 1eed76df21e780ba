# SPDX-License-Identifier: Apache-2.0
"""`lictor incidents`: found, told whole, judged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.contract.records import IncidentDetail, IncidentList, ToolCall
from enforcer.cli.exits import EXIT_FAILED
from enforcer.cli.main import main
from tests.api import samples
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane


def attempt(sequence: int, number: int, **fields: Any) -> dict[str, Any]:
    """A denied connect of call `number`."""
    event = samples.event(sequence, **fields)
    name = {"number": number, "id": f"call_{number}", "episode": f"ep-{number}"}
    return {**event, "tag": {**event["tag"], "call": {**event["tag"]["call"], **name}}}


@pytest.fixture
def incidents(controlplane: ServedControlPlane) -> list[str]:
    """Ids of two: of call 2, then of call 1, as the list has them."""
    ls = {"path": "/usr/bin/ls"}
    controlplane.ship(
        attempt(1, 1),
        attempt(2, 1, kind="exec", object=ls, decision="allowed", rule="exec.allow[0]"),
        attempt(3, 2, decision="audited"),
        calls=(ToolCall(**samples.call()),),
    )
    return ids()


def ids() -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda text="", **_: lines.append(text))
        main(["incidents"])
    return [line.split()[0] for line in lines[1:]]


def test_the_list_has_the_latest_first(
    incidents: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["incidents"]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "ID", "LAST", "SEVERITY", "STATE", "EVENTS", "NODE", "EPISODE", "CALL", "WHAT"
    ]  # fmt: skip
    assert "ep-2     call_2  connect to 198.51.100.7:22 audited" in first
    assert "medium    open   1       node-1  ep-1     call_1  connect to" in second


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        (["--episode", "ep-1"], {"call_1"}),
        (["--episode", "ep-9"], set()),
        (["--state", "open"], {"call_1", "call_2"}),
        (["--state", "acknowledged"], set()),
        (["show", "--limit", "1"], {"call_2"}),
    ],
)
def test_the_list_is_narrowed(
    words: list[str], calls: set[str], incidents: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["incidents", *words, "--json"]) == 0
    output = capsys.readouterr()
    found = IncidentList.model_validate(json.loads(output.out))
    assert {incident.call for incident in found.incidents} == calls
    assert ("there may be more" in output.err) == ("--limit" in words)


def test_a_limit_beyond_the_apis_is_refused(
    incidents: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["incidents", "--limit", "1001"]) == EXIT_FAILED
    assert "  limit: " in capsys.readouterr().err


def test_a_story_is_whole(incidents: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["incidents", incidents[1]]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"incident {incidents[1]}: connect to 198.51.100.7:22 denied\n")
    for line in (
        "who          curl (pid 339, uid 0)",
        "where        node node-1, workload /rl.slice/one",
        "episode      ep-1, step 3",
        "tool call    call_1 of tool shell",
        'arguments    {"command": "curl 198.51.100.7:22"}',
        "attribution  kernel: inherited in the kernel",
        "how often    1 denied, 0 audited",
        "     1x 198.51.100.7:22",
        "     1x rl#1: no_rule",
    ):
        assert f"\n{line}" in text
    events, followed = text.split("what followed")
    assert "DENIED   connect 198.51.100.7:22" in events
    assert "allowed  exec    /usr/bin/ls" in followed


def test_a_story_as_json_is_the_apis_model(
    incidents: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["incidents", incidents[1], "--json"])
    detail = IncidentDetail.model_validate(json.loads(capsys.readouterr().out))
    assert detail.call is not None
    assert len(detail.followed) == 1


@pytest.mark.parametrize(
    ("action", "state"),
    [("acknowledge", "acknowledged"), ("false-positive", "false-positive"), ("reopen", "open")],
)
def test_a_judgement_is_kept_with_its_note(
    action: str, state: str, incidents: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["incidents", action, incidents[0], "--note", "seen\nby ada"]) == 0
    assert capsys.readouterr().out == f"incident {incidents[0]}: {state} (seen\\nby ada)\n"
    # A judgement without a note leaves the note.
    assert main(["incidents", action, incidents[0]]) == 0
    main(["incidents", incidents[0]])
    text = capsys.readouterr().out
    assert f"\nstate        {state}\nnote         seen\n             by ada\n" in text


def test_an_incident_that_is_not_there_is_named(
    controlplane: ServedControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["nobody"], ["acknowledge", "nobody"]):
        assert main(["incidents", *words]) == EXIT_FAILED
        assert capsys.readouterr().err == "lictor: incident nobody: is not known\n"


def test_arguments_cannot_pass_for_a_field(
    controlplane: ServedControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = "x\nstate        acknowledged\n\x1b[2J" + "y" * 5000
    controlplane.ship(attempt(1, 1), calls=(ToolCall(**samples.call(arguments=arguments)),))
    main(["incidents", ids()[0]])
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert [line for line in text.splitlines() if line.startswith("state")] == ["state        open"]
    assert "more characters, see --json" in text


def test_an_attempt_of_no_call_is_told_too(
    controlplane: ServedControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [
        samples.event(number, tag={"call": None}, attribution="none", time=1e300)
        for number in range(1, 41)
    ]
    controlplane.ship(*events)
    main(["incidents", ids()[0]])
    text = capsys.readouterr().out
    assert "attribution  none: the process descends from no known tool call" in text
    assert "… and 10 more" in text
    assert "what followed in the same call or process: nothing is known" in text


def test_long_arguments_have_a_line_for_each(
    controlplane: ServedControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"command": "make", "environment": ["x" * 60, "\u202ey"]}
    controlplane.ship(attempt(1, 1), calls=(ToolCall(**samples.call(arguments=arguments)),))
    main(["incidents", ids()[0]])
    text = capsys.readouterr().out
    assert '\narguments    {\n              "command": "make",\n' in text
    assert '\n               "\\u202ey"\n' in text
