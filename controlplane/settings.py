# SPDX-License-Identifier: Apache-2.0
"""What an operator may set for the control plane, as LICTOR_API_* or in its environment file.

Every field is listed in docs/settings.md; a test compares the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from controlplane.contract.daemon import DaemonSettings
from controlplane.listening import parse_listen

ENVIRONMENT_FILE = "/etc/lictor/controlplane.env"


class ControlPlaneSettings(DaemonSettings):
    """The control plane's settings. The defaults let nobody in from another machine."""

    model_config = SettingsConfigDict(
        env_prefix="LICTOR_API_", env_file=ENVIRONMENT_FILE, extra="ignore", frozen=True
    )

    listen: str = "unix:/run/lictor-controlplane/api.sock"
    """Where to listen: `unix:PATH` or `ADDRESS:PORT`, several with commas between."""

    tls_certificate: Path | None = None
    """PEM file of the certificate and those that signed it. With tls_key: TLS on every port."""

    tls_key: Path | None = None
    """PEM file of the certificate's key, without a passphrase."""

    state: Path = Path("/var/lib/lictor-controlplane")
    """Folder of the database and the pid file; made if it is missing."""

    retention_days: float = Field(default=30, gt=0, le=3650)
    """Events older than this go, in days."""

    retention_bytes: int = Field(default=8 << 30, ge=64 << 20)
    """The oldest events go when the database is larger than this, in bytes."""

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.state / "controlplane.db"

    @property
    def pid_file(self) -> Path:
        """Locked by the control plane that runs."""
        return self.state / "controlplane.pid"

    @model_validator(mode="after")
    def _may_listen(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "TLS_KEY" if self.tls_key is None else "TLS_CERTIFICATE"
            raise ValueError(f"LICTOR_API_{missing} is missing: TLS wants a certificate and a key")
        for address in parse_listen(self.listen):
            if self.tls_certificate is None and not address.local:
                raise ValueError(
                    f"LICTOR_API_LISTEN: {address} is reached from other machines, and tokens "
                    "would cross the network in the clear: set LICTOR_API_TLS_CERTIFICATE and "
                    "LICTOR_API_TLS_KEY, or listen on 127.0.0.1, [::1] or unix:PATH"
                )
        return self
