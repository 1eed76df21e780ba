# SPDX-License-Identifier: Apache-2.0
"""The kernels that Lictor is tested on, and how one is chosen by a prefix of its version."""

from collections.abc import Mapping
from dataclasses import dataclass

USERLAND_SUITES = ("bookworm", "bookworm-updates", "bookworm-security")
USERLAND_PYTHON = "3.11"


@dataclass(frozen=True)
class Kernel:
    """One row: `series` is the leading part of the version, `suites` where its newest is found."""

    series: str
    suites: tuple[str, ...]


MATRIX = (
    # The oldest with task storage in the distributions that we support.
    Kernel("6.1", ("bookworm", "bookworm-updates", "bookworm-security")),
    Kernel("6.12", ("trixie", "trixie-updates", "trixie-security")),
    Kernel("7", ("trixie-backports",)),
)
DEFAULT = "6.1"


def is_prefix(short: str, version: str) -> bool:
    """Whether `short` leads `version`, number by number: 6.1 leads 6.1.192 but not 6.12.117."""
    wanted = short.split(".")
    return version.split(".")[: len(wanted)] == wanted


def select(text: str, versions: Mapping[str, str]) -> Kernel:
    """The matrix's newest kernel that `text` names.

    `versions` gives the full version of each series as far as it is known,
    by series. Raises ValueError, listing what there is.
    """
    for kernel in reversed(MATRIX):
        if is_prefix(text, versions.get(kernel.series, kernel.series)):
            return kernel
    known = ", ".join(versions.get(kernel.series, f"{kernel.series}.*") for kernel in MATRIX)
    raise ValueError(f"kernel {text!r}: no such kernel; the matrix has {known}")


def may_match(text: str, kernel: Kernel) -> bool:
    """Whether `text` could name this kernel once its full version is known."""
    return is_prefix(kernel.series, text) or is_prefix(text, kernel.series)
