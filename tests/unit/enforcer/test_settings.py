# SPDX-License-Identifier: Apache-2.0
"""Each setting is documented as it is, and each documented one exists."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from enforcer import paths, settings
from enforcer.settings import ENVIRONMENT_FILE, AgentSettings, UplinkSettings

PAGE = (Path(__file__).parents[3] / "docs/settings.md").read_text(encoding="utf-8")
ROWS = {
    name: [cell.strip() for cell in rest.split("|")]
    for name, rest in re.findall(r"^\| `(LICTOR_\w+)` \|(.*)\|$", PAGE, re.MULTILINE)
}
MODELS = (AgentSettings, UplinkSettings)
FOLDERS = {"LICTOR_RUN", "LICTOR_STATE", "LICTOR_LOG"}
# Settings of its own; `lictor` reads one of them to find it.
CONTROLPLANE = {name for name in ROWS if name.startswith("LICTOR_API_")}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ROWS:
        monkeypatch.delenv(name, raising=False)
    for model in MODELS:
        monkeypatch.setitem(model.model_config, "env_file", tmp_path / "enforcer.env")


def test_the_page_lists_the_settings_and_no_others() -> None:
    fields = {f"LICTOR_{name.upper()}" for model in MODELS for name in model.model_fields}
    assert set(ROWS) - FOLDERS - CONTROLPLANE == fields
    assert ENVIRONMENT_FILE in PAGE


def test_the_page_lists_the_folders_and_no_others() -> None:
    text = Path(paths.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r'environ\.get\("(\w+)"', text)) - CONTROLPLANE == FOLDERS
    assert set(ROWS) >= FOLDERS


def test_every_variable_that_the_enforcer_reads_is_on_the_page() -> None:
    sources = Path(settings.__file__).parent.rglob("*.py")
    read = {name for p in sources for name in re.findall(r"\bLICTOR_[A-Z]\w+", p.read_text())}
    assert read <= set(ROWS)


@pytest.mark.parametrize("name", sorted(AgentSettings.model_fields))
def test_a_settings_default_is_on_the_page(name: str) -> None:
    default = str(getattr(AgentSettings(), name)).removesuffix(".0")
    shown = ROWS[f"LICTOR_{name.upper()}"][0]
    assert default in shown or (name == "node" and shown == "the host's name")


def test_defaults_are_safe() -> None:
    found = AgentSettings()
    assert (found.node, found.log_level) == (socket.gethostname(), "INFO")


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "enforcer.env").write_text("LICTOR_NODE=gpu-17\nLICTOR_LOG_LEVEL=DEBUG\nOTHER=x\n")
    monkeypatch.setenv("LICTOR_LOG_LEVEL", "ERROR")
    found = AgentSettings()
    assert (found.node, found.log_level) == ("gpu-17", "ERROR")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NODE", ""), ("NODE", "x" * 254), ("SPOOL_BYTES", "1000"), ("SPOOL_BYTES", "1 GiB"),
        ("SPOOL_BYTES", "-1"), ("LOG_LEVEL", "debug"), ("LOG_LEVEL", "LOUD"),
        ("CANARY_SECONDS", "4.9"), ("CANARY_SECONDS", "3601"), ("CANARY_SECONDS", "never"),
        ("REFRESH_SECONDS", "0"), ("REFRESH_SECONDS", "301"), ("REFRESH_SECONDS", "often"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"LICTOR_{name}", value)
    with pytest.raises(ValidationError) as caught:
        AgentSettings()
    assert [error["loc"] for error in caught.value.errors()] == [(name.lower(),)]


def test_the_two_programs_agree_on_what_they_share() -> None:
    ours, theirs = AgentSettings.model_fields, UplinkSettings.model_fields
    for name in ours.keys() & theirs.keys():
        assert ours[name].default == theirs[name].default
        assert str(ours[name].metadata) == str(theirs[name].metadata)


def test_the_uplink_reads_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "enforcer.env").write_text(
        "LICTOR_NODE=gpu-17\nLICTOR_CONTROLPLANE=https://cp.example:8420\n"
        "LICTOR_TOKEN_FILE=/etc/lictor/token\nLICTOR_SPOOL_BYTES=1000000000\n"
    )
    found = UplinkSettings()
    assert (found.node, found.controlplane) == ("gpu-17", "https://cp.example:8420")
    assert (found.token_file, found.ca_file) == (Path("/etc/lictor/token"), None)


@pytest.mark.parametrize("value", ["http://cp.example", "cp.example", "", "unix:x"])
def test_a_control_plane_that_cannot_be_used_is_refused_by_name(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LICTOR_CONTROLPLANE", value)
    with pytest.raises(ValidationError) as caught:
        UplinkSettings()
    assert [error["loc"] for error in caught.value.errors()] == [("controlplane",)]


def test_settings_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    found: Any = AgentSettings()
    with pytest.raises(ValidationError):
        found.node = "other"
