# SPDX-License-Identifier: Apache-2.0
"""`lictor episodes`: opened, read with all that happened, closed."""

from __future__ import annotations

import json

import pytest

from controlplane.contract.records import Episode, EpisodeList, ToolCall
from enforcer.cli.exits import EXIT_FAILED, EXIT_USAGE
from enforcer.cli.main import main
from tests.api import samples
from tests.unit.enforcer.cli.served_controlplane import ServedControlPlane

Capture = pytest.CaptureFixture[str]


def test_an_episode_is_opened_and_closed(controlplane: ServedControlPlane, capsys: Capture) -> None:
    words = ["--node", "gpu-1", "--workload", "/rl.slice/a", "--label", "model=m-7"]
    assert main(["episodes", "open", "ep-9", *words, "--label", "note=a=b"]) == 0
    assert capsys.readouterr().out == "episode ep-9: open\n"
    assert main(["episodes", "ep-9"]) == 0
    text = capsys.readouterr().out
    for line in (
        "node      gpu-1", "workload  /rl.slice/a", "labels    model=m-7 note=a=b", "events    none"
    ):  # fmt: skip
        assert f"\n{line}\n" in text
    assert main(["episodes", "close", "ep-9"]) == 0
    assert capsys.readouterr().out == "episode ep-9: closed\n"
    main(["episodes"])
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["EPISODE", "STATE", "BEGAN", "CLOSED", "INCIDENTS"]
    assert line.split()[:2] == ["ep-9", "closed"]


def test_a_record_has_calls_incidents_and_what_is_missing(
    controlplane: ServedControlPlane, capsys: Capture
) -> None:
    controlplane.ship(
        samples.event(1), samples.event(4), calls=(ToolCall(**samples.call(tool="sh\x1b[31m")),)
    )
    assert main(["episodes", "ep-1"]) == 0
    text = capsys.readouterr().out
    assert "\nevents    2 denied\n" in text
    assert "\nrecord    2 of 4 events missing\n" in text
    assert "\n3     call_1  sh\\x1b[31m  " in text
    assert "connect to 198.51.100.7:22 denied\n" in text


def test_json_is_the_apis_model(controlplane: ServedControlPlane, capsys: Capture) -> None:
    controlplane.ship(samples.event(1))
    main(["episodes", "--json"])
    assert len(EpisodeList.model_validate(json.loads(capsys.readouterr().out)).episodes) == 1
    main(["episodes", "ep-1", "--json"])
    assert Episode.model_validate(json.loads(capsys.readouterr().out)).decisions == {"denied": 1}


def test_an_episode_named_like_an_action_is_shown_by_show(
    controlplane: ServedControlPlane, capsys: Capture
) -> None:
    assert main(["episodes", "open", "close"]) == 0
    assert main(["episodes", "show", "close"]) == 0
    assert "episode   close\n" in capsys.readouterr().out


def test_an_episode_that_is_not_there_is_named(
    controlplane: ServedControlPlane, capsys: Capture
) -> None:
    for words in (["nobody"], ["close", "nobody"]):
        assert main(["episodes", *words]) == EXIT_FAILED
        assert capsys.readouterr().err == "lictor: episode nobody: is not known\n"


@pytest.mark.parametrize("label", ["model", "=m-7", ""])
def test_a_label_is_a_key_and_a_value(label: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["episodes", "open", "ep", "--label", label])
    assert caught.value.code == EXIT_USAGE
    assert f"{label!r} is not KEY=VALUE" in capsys.readouterr().err


def test_too_many_labels_are_not_sent(capsys: Capture) -> None:
    labels = [word for number in range(65) for word in ("--label", f"k{number}=v")]
    assert main(["episodes", "open", "ep", *labels]) == EXIT_FAILED
    first, second = capsys.readouterr().err.splitlines()
    assert first == "lictor: episode ep: is not sent"
    assert second.startswith("  labels: ")
