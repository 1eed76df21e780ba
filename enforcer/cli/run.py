# SPDX-License-Identifier: Apache-2.0
"""lictor run: a command in a fresh cgroup under a policy."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from controlplane.contract.wire import RequestError
from enforcer import paths
from enforcer.cgroups import folder
from enforcer.cli.callfields import add_call_fields, call_fields
from enforcer.cli.child import HeldChild
from enforcer.cli.exits import EXIT_NOT_STARTED
from enforcer.client import EnforcerClient


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of `run`."""
    parser.add_argument(
        "--policy", required=True, metavar="NAME_OR_FILE",
        help="a policy in force, or a YAML file that is applied first",
    )  # fmt: skip
    parser.add_argument(
        "--grant", action="append", default=[], metavar="NAME",
        help="a grant of the policy for this command; may be repeated",
    )  # fmt: skip
    add_call_fields(parser, "--call", required=False)
    parser.add_argument("argv", nargs="+", metavar="COMMAND", help="after --")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prepare the cgroup, start the command inside it, clean up after it."""
    try:
        with EnforcerClient(paths.ADMIN_SOCKET) as client:
            return _run(client, arguments)
    except (RequestError, OSError, ValueError) as error:
        print(f"lictor: {error}", file=sys.stderr)
        return EXIT_NOT_STARTED


def _run(client: EnforcerClient, arguments: argparse.Namespace) -> int:
    name = _policy_name(client, arguments.policy)
    prepared = client.request(
        "run.prepare", policy=name, grants=arguments.grant, episode=arguments.episode
    )
    procs = folder(prepared["cgroup"]) / "cgroup.procs"
    child = HeldChild(arguments.argv, prepare=lambda: _enter(procs))
    finish: dict[str, Any] = {"cgroup": prepared["cgroup"]}
    try:
        if not child.started():
            child.abandon()
            raise OSError(f"{procs}: the command could not enter its cgroup")
        if arguments.call_id is not None:
            fields = call_fields(arguments)
            try:
                finish["call"] = client.request("run.begin", target=child.pid, hold=True, **fields)[
                    "call"
                ]
            except (RequestError, OSError, ValueError):
                child.abandon()
                raise
        status = child.release()
    finally:
        _finish(finish)
    return status


def _finish(fields: dict[str, Any]) -> None:
    # A connection of its own: the agent may have been restarted while the command ran.
    try:
        with EnforcerClient(paths.ADMIN_SOCKET) as client:
            if not client.request("run.finish", **fields)["removed"]:
                print(
                    f"lictor: processes still run in {fields['cgroup']}; the policy holds for"
                    " them, and the agent removes the cgroup after them",
                    file=sys.stderr,
                )
    except (RequestError, OSError) as error:
        print(f"lictor: {fields['cgroup']} was not removed: {error}", file=sys.stderr)


def _policy_name(client: EnforcerClient, given: str) -> str:
    if "/" not in given and not given.endswith((".yaml", ".yml")):
        return given
    text = Path(given).read_bytes()
    return str(client.request("policy.apply", source=given, text=text)["policy"]["name"])


def _enter(procs: Path) -> None:
    procs.write_text("0")
