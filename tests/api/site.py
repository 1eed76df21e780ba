# SPDX-License-Identifier: Apache-2.0
"""A node's uplink and the control plane, as processes of their own, with an agent stood in for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from controlplane.contract.policy import parse_policy, policy_digest
from controlplane.contract.wire import RequestError
from tests.api import samples
from tests.unit.enforcer.fake_agent import FakeAgent


class Site:
    """The two programs and what they share; whoever makes it is the agent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix:{folder}/api.sock"
        self._environment = {
            **{name: value for name, value in os.environ.items() if "LICTOR" not in name},
            "LICTOR_RUN": str(folder / "run"),
            "LICTOR_STATE": str(folder / "state"),
            "LICTOR_NODE": samples.NODE,
            "LICTOR_CONTROLPLANE": self.address,
            "LICTOR_API_LISTEN": self.address,
            "LICTOR_API_STATE": str(folder / "controlplane"),
        }
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._policies: dict[str, dict[str, Any]] = {}
        self.agent = FakeAgent(
            folder / "run/admin.sock",
            status=lambda _: {"workloads": []},
            policy_list=lambda _: {"policies": list(self._policies.values())},
            policy_apply=self._apply,
            policy_remove=lambda message: self._policies.pop(message["name"]),
        )

    def start(self, *modules: str) -> None:
        for module in modules:
            with (self.folder / f"{module}.log").open("ab") as log:
                self._programs[module] = subprocess.Popen(
                    [sys.executable, "-m", module], env=self._environment, stderr=log
                )

    def kill(self, module: str) -> None:
        """As kill -9 does."""
        program = self._programs.pop(module)
        ended_before = program.poll()
        program.kill()
        program.wait()
        assert ended_before is None, (self.folder / f"{module}.log").read_text()

    def close(self) -> None:
        self.agent.close()
        for module in list(self._programs):
            self.kill(module)

    def in_force(self) -> dict[str, int]:
        return {name: row["revision"] for name, row in self._policies.items()}

    def _apply(self, message: dict[str, Any]) -> dict[str, Any]:
        policy = parse_policy(message["text"], "test")
        if "refused" in policy.name:
            raise RequestError("failed", f"policy {policy.name}: no room")
        revision = message["revision"]
        row = {"name": policy.name, "revision": revision, "digest": policy_digest(policy)}
        self._policies[policy.name] = row
        return {"policy": row}
