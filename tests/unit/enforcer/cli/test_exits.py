# SPDX-License-Identifier: Apache-2.0
"""Exit statuses are told apart, and a shell's own keep their meaning."""

from __future__ import annotations

from enforcer.cli import exits


def test_no_status_means_two_things() -> None:
    values = [
        v for name, v in vars(exits).items() if name.startswith("EXIT_") and v != exits.EXIT_CODES
    ]
    assert len(set(values)) == len(values)


def test_statuses_of_commands_are_those_of_env_and_nohup() -> None:
    found = (exits.EXIT_NOT_STARTED, exits.EXIT_NOT_EXECUTABLE, exits.EXIT_NOT_FOUND)
    assert found == (125, 126, 127)
