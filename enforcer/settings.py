# SPDX-License-Identifier: Apache-2.0
"""What an operator may set for the agent and the uplink.

As LICTOR_* in the environment, or in /etc/lictor/enforcer.env. Every field is listed in
docs/settings.md; a test compares the two.
"""

from __future__ import annotations

import socket
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from controlplane.contract.daemon import DaemonSettings
from controlplane.endpoint import parse_endpoint
from enforcer.canary_state import PERIOD_SECONDS

ENVIRONMENT_FILE = "/etc/lictor/enforcer.env"


class AgentSettings(DaemonSettings):
    """The agent's settings, with safe defaults."""

    model_config = SettingsConfigDict(
        env_prefix="LICTOR_", env_file=ENVIRONMENT_FILE, extra="ignore", frozen=True
    )

    node: str = Field(default_factory=socket.gethostname, min_length=1, max_length=253)
    """Name of this node in events."""

    spool_bytes: int = Field(default=1 << 30, ge=64 << 20)
    """Events kept on disk, in bytes; the oldest go first."""

    refresh_seconds: float = Field(default=5.0, ge=0.5, le=300)
    """How often cgroups and device numbers are looked over, besides events that tell at once."""

    canary_seconds: float = Field(default=PERIOD_SECONDS, ge=5, le=3600)
    """How often the canary tries whether a denial really happens."""


class UplinkSettings(DaemonSettings):
    """The uplink's settings; the agent reads none of them but the node's name."""

    model_config = SettingsConfigDict(
        env_prefix="LICTOR_", env_file=ENVIRONMENT_FILE, extra="ignore", frozen=True
    )

    node: str = Field(default_factory=socket.gethostname, min_length=1, max_length=253)
    """Name of this node, the same as the agent's."""

    controlplane: str = "unix:/run/lictor-controlplane/api.sock"
    """Where the control plane is: `unix:PATH` or `https://HOST:PORT`."""

    token_file: Path | None = None
    """A file that holds the node's token, read before each request."""

    ca_file: Path | None = None
    """PEM file of the authorities that an https control plane's certificate may come from."""

    @field_validator("controlplane")
    @classmethod
    def _reachable(cls, text: str) -> str:
        parse_endpoint(text)
        return text
