# SPDX-License-Identifier: Apache-2.0
"""The control plane's settings: safe as they come, refused by name where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from controlplane.settings import ENVIRONMENT_FILE, ControlPlaneSettings

PAGE = (Path(__file__).parents[3] / "docs/settings.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ControlPlaneSettings.model_fields:
        monkeypatch.delenv(f"LICTOR_API_{name.upper()}", raising=False)
    file = tmp_path / "controlplane.env"
    monkeypatch.setitem(ControlPlaneSettings.model_config, "env_file", file)


def test_by_default_nobody_reaches_it_from_another_machine() -> None:
    found = ControlPlaneSettings()
    assert found.listen == "unix:/run/lictor-controlplane/api.sock"
    assert found.database == found.state / "controlplane.db"
    assert ENVIRONMENT_FILE in PAGE


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "controlplane.env").write_text(
        "LICTOR_API_RETENTION_DAYS=7\nLICTOR_API_STATE=/srv/lictor\nOTHER=x\n"
    )
    monkeypatch.setenv("LICTOR_API_RETENTION_DAYS", "0.5")
    found = ControlPlaneSettings()
    assert (found.retention_days, found.state) == (0.5, Path("/srv/lictor"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RETENTION_DAYS", "0"), ("RETENTION_DAYS", "4000"), ("RETENTION_BYTES", "1000"),
        ("RETENTION_BYTES", "8 GiB"), ("LOG_LEVEL", "debug"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"LICTOR_API_{name}", value)
    with pytest.raises(ValidationError) as caught:
        ControlPlaneSettings()
    assert [error["loc"] for error in caught.value.errors()] == [(name.lower(),)]


@pytest.mark.parametrize("listen", ["0.0.0.0:8420", "unix:/a.sock,[::]:8420", "192.0.2.7:1"])
def test_another_machine_may_reach_it_only_by_tls(listen: str) -> None:
    with pytest.raises(ValidationError, match="is reached from other machines"):
        ControlPlaneSettings(listen=listen)
    found = ControlPlaneSettings(
        listen=listen, tls_certificate=Path("/tls.crt"), tls_key=Path("/tls.key")
    )
    assert found.listen == listen


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key"])
def test_half_of_tls_is_no_tls(name: str) -> None:
    with pytest.raises(ValidationError, match="is missing: TLS wants a certificate and a key"):
        ControlPlaneSettings.model_validate({"listen": "0.0.0.0:8420", name: Path("/tls")})
