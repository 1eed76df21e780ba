# SPDX-License-Identifier: Apache-2.0
"""Policy files as the command line names them."""

from __future__ import annotations

import sys
from pathlib import Path


def read_source(file: str) -> tuple[str, bytes]:
    """(name for messages, bytes) of a policy file."""
    if file == "-":
        return "<stdin>", sys.stdin.buffer.read()
    return file, Path(file).read_bytes()
