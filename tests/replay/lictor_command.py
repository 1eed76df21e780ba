# SPDX-License-Identifier: Apache-2.0
"""The ``lictor`` command as an operator uses it: the replay reaches Lictor no other way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.replay import places


class LictorCommand:
    """Runs ``lictor``; the environment's LICTOR names another path for it.

    Errors of every method: ``RuntimeError`` with the command and its own words.
    """

    def __init__(self, timeout: float = 300.0) -> None:
        wanted = os.environ.get("LICTOR", "lictor")
        found = shutil.which(wanted)
        if found is None:
            raise RuntimeError(f"{wanted}: command not found: is Lictor installed?")
        self.path = found
        self._timeout = timeout

    def _run(self, *arguments: str) -> str:
        command = [self.path, *arguments]
        try:
            done = subprocess.run(
                command, text=True, capture_output=True, timeout=self._timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{' '.join(command)}: no end in {self._timeout:.0f} s") from None
        if done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip()
            raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {said}")
        return done.stdout

    def up(self) -> None:
        self._run("up")

    def apply(self, policy: Path) -> None:
        self._run("policy", "apply", str(policy))

    def enforcing(self) -> bool:
        """What ``lictor doctor`` says; False also where it cannot tell."""
        command = [self.path, "doctor", "--json"]
        done = subprocess.run(
            command, text=True, capture_output=True, timeout=self._timeout, check=False
        )
        try:
            return json.loads(done.stdout)["enforcing"] is True
        except (ValueError, KeyError, TypeError):
            return False

    def events(self) -> list[dict[str, Any]]:
        """Every event of this node so far."""
        lines = self._run("events", "--json", "--node-only").splitlines()
        return [json.loads(line) for line in lines]

    def episode(self, identifier: str) -> dict[str, Any]:
        """The episode's record in the control plane."""
        found: dict[str, Any] = json.loads(self._run("episodes", identifier, "--json"))
        return found

    def run_prefix(self) -> list[str]:
        """What starts a command as the replay's workload, with the trainer's grant."""
        workload = ["--policy", places.POLICY, "--grant", places.GRANT]
        return [self.path, "run", *workload, "--episode", places.EPISODE, "--"]
