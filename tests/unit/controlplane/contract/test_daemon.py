# SPDX-License-Identifier: Apache-2.0
"""A daemon begins once, with settings that hold, or says why not and with which status."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from loguru import logger
from pydantic import model_validator
from pydantic_settings import SettingsConfigDict

from controlplane.contract.daemon import (
    EXIT_FAILED,
    EXIT_RUNNING,
    EXIT_SETTINGS,
    DaemonSettings,
    begin,
)


class Sample(DaemonSettings):
    model_config = SettingsConfigDict(env_prefix="SAMPLE_")

    number: int = 1

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.number == 13:
            raise ValueError("SAMPLE_NUMBER: 13 brings bad luck")
        return self


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    yield
    logger.remove()
    logger.add(sys.stderr)


def failed(pid_file: Path) -> object:
    with pytest.raises(SystemExit) as ended:
        begin("sample", Sample, lambda _: pid_file)
    return ended.value.code


def test_it_has_its_settings_and_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_NUMBER", "7")
    file = tmp_path / "pid"
    assert begin("sample", Sample, lambda _: file).number == 7
    with open(file, "a") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_another_that_runs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pid"
    with open(file, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert failed(file) == EXIT_RUNNING
    assert f"{file}: another sample runs" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failed(tmp_path / "absent/pid") == EXIT_FAILED
    assert "absent/pid" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("SAMPLE_NUMBER", "many", "lictor: setting SAMPLE_NUMBER: 'many': Input should be"),
        ("SAMPLE_NUMBER", "13", "lictor: setting SAMPLE_NUMBER: 13 brings bad luck\n"),
        ("SAMPLE_LOG_LEVEL", "LOUD", "lictor: setting SAMPLE_LOG_LEVEL: 'LOUD': "),
    ],
)
def test_a_setting_that_does_not_hold_is_named(
    name: str,
    value: str,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    assert failed(tmp_path / "pid") == EXIT_SETTINGS
    said = capsys.readouterr().err
    assert said.startswith(text)
    assert said.count("\n") == 1
    assert not (tmp_path / "pid").exists()
