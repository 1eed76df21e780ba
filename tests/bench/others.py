# SPDX-License-Identifier: Apache-2.0
"""What others cost that can do a part of the same job: AppArmor, and systemd's cgroup filters.

AppArmor has a profile that allows the benchmark's attempts and nothing else; it cannot tell
destinations apart. systemd has its filters by address and by device, in a unit of its own, and so
the unit without them to compare with.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

PROFILE_NAME = "lictor-bench"
PROFILE = Path(__file__).resolve().parent / "apparmor.profile"
FILTERS = (
    *("-p", "IPAddressDeny=any", "-p", "IPAddressAllow=127.0.0.1"),
    *("-p", "DevicePolicy=closed"),
)
ALLOWED = "allowed"


def measure(hookbench: Path, folder: Path, in_place: Callable[..., str]) -> dict[str, str]:
    """hookbench's output under each, of the attempts that all of them allow."""
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache", PROFILE], check=True)
    confined = in_place("inside", ALLOWED, under=["aa-exec", "-p", PROFILE_NAME, "--"])
    subprocess.run(["apparmor_parser", "--remove", PROFILE], check=True)
    return {
        "apparmor": confined,
        "systemd_plain": in_unit(hookbench, folder),
        "systemd": in_unit(hookbench, folder, *FILTERS),
    }


def in_unit(hookbench: Path, folder: Path, *properties: str) -> str:
    """Output of a hookbench that runs as a unit of systemd's."""
    command = ["systemd-run", "--quiet", "--pipe", "--wait", *properties]
    done = subprocess.run(
        [*command, hookbench, folder, ALLOWED], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout
