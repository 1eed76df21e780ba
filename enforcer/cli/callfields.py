# SPDX-License-Identifier: Apache-2.0
"""The arguments that describe a tool call, the same for `run` and `call`."""

from __future__ import annotations

import argparse
import contextlib
import json
from typing import Any

from controlplane.contract.wire import encode


def add_call_fields(parser: argparse.ArgumentParser, flag: str, *, required: bool) -> None:
    """Add --id (or --call), --episode, --step, --tool, --arguments."""
    parser.add_argument(
        flag, dest="call_id", metavar="ID", required=required,
        help="id of the tool call (gen_ai.tool.call.id)",
    )  # fmt: skip
    parser.add_argument("--episode", metavar="ID", help="episode (trajectory) of the call")
    parser.add_argument("--step", metavar="N", type=int, help="step of the episode")
    parser.add_argument("--tool", metavar="NAME", help="name of the tool")
    parser.add_argument("--arguments", metavar="JSON", help="what the model asked for")


def call_fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of a begin.

    Arguments that are not JSON, or JSON that no message can carry, are the text that they are.
    """
    given: Any = arguments.arguments
    if given is not None:
        with contextlib.suppress(ValueError, RecursionError):
            parsed = json.loads(given)
            encode({"arguments": parsed})
            given = parsed
    return {
        "id": arguments.call_id,
        "episode": arguments.episode,
        "step": arguments.step,
        "tool": arguments.tool,
        "arguments": given,
    }
