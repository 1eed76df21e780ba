# SPDX-License-Identifier: Apache-2.0
"""What an operator may set for the agent, as LICTOR_* or in /etc/lictor/enforcer.env.

Every field is listed in docs/settings.md; a test compares the two.
"""

from __future__ import annotations

import socket

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ENVIRONMENT_FILE = "/etc/lictor/enforcer.env"


class AgentSettings(BaseSettings):
    """The agent's settings, with safe defaults."""

    model_config = SettingsConfigDict(
        env_prefix="LICTOR_", env_file=ENVIRONMENT_FILE, extra="ignore", frozen=True
    )

    node: str = Field(default_factory=socket.gethostname, min_length=1, max_length=253)
    """Name of this node in events."""

    spool_bytes: int = Field(default=1 << 30, ge=64 << 20)
    """Events kept on disk, in bytes; the oldest go first."""

    log_level: str = Field(default="INFO", pattern="^(TRACE|DEBUG|INFO|WARNING|ERROR)$")
    """Least severe level that is logged."""

    refresh_seconds: float = Field(default=5.0, ge=0.5, le=300)
    """How often cgroups and device numbers are looked over, besides events that tell at once."""
