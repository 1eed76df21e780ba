# SPDX-License-Identifier: Apache-2.0
"""lictor call exec, begin, end: tool calls from a shell or an executor."""

from __future__ import annotations

import argparse
import sys

from controlplane.contract.wire import RequestError
from enforcer import paths
from enforcer.cli.callfields import add_call_fields, call_fields
from enforcer.cli.child import HeldChild
from enforcer.cli.exits import EXIT_NOT_STARTED
from enforcer.cli.parsers import add_command
from enforcer.client import EnforcerClient


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of the call commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    exec_parser = add_command(
        actions,
        "exec",
        "run a command as a tool call: it and all its descendants carry the call",
        description="Run a command as a tool call, from inside a workload. The command and its"
        " descendants carry the call and have no grants. If the call cannot be bound, the"
        " command is not started.",
    )
    add_call_fields(exec_parser, "--id", required=True)
    exec_parser.add_argument("argv", nargs="+", metavar="COMMAND", help="after --")
    exec_parser.set_defaults(run=exec_call)
    begin_parser = add_command(
        actions, "begin", "bind a running process, such as a shell; prints the call's number"
    )
    add_call_fields(begin_parser, "--id", required=True)
    begin_parser.add_argument("--target", type=int, required=True, metavar="PID")
    begin_parser.set_defaults(run=begin)
    end_parser = add_command(
        actions, "end", "end a call by its number: the bound process goes on as after:<id>"
    )
    end_parser.add_argument("number", type=int, metavar="NUMBER")
    end_parser.set_defaults(run=end)


def exec_call(arguments: argparse.Namespace) -> int:
    """Bind a child of ours, let it run, end the call when it ends."""
    try:
        with EnforcerClient(paths.CALLS_SOCKET) as client:
            child = HeldChild(arguments.argv)
            try:
                reply = client.request(
                    "begin", target=child.pid, hold=True, **call_fields(arguments)
                )
            except (RequestError, OSError, ValueError):
                child.abandon()
                raise
            status = child.release()
            _end(client, reply["call"])
            return status
    except (RequestError, OSError, ValueError) as error:
        print(f"lictor: the call was not started: {error}", file=sys.stderr)
        return EXIT_NOT_STARTED


def _end(client: EnforcerClient, number: int) -> None:
    try:
        client.request("end", call=number)
    except OSError:
        # The agent was restarted meanwhile: the new one knows the call.
        try:
            with EnforcerClient(paths.CALLS_SOCKET) as again:
                again.request("end", call=number)
        except (RequestError, OSError) as error:
            print(f"lictor: the call's end was not recorded: {error}", file=sys.stderr)
    except RequestError as error:
        print(f"lictor: the call's end was not recorded: {error}", file=sys.stderr)


def begin(arguments: argparse.Namespace) -> int:
    """Bind a process that exists."""
    with EnforcerClient(paths.CALLS_SOCKET) as client:
        reply = client.request("begin", target=arguments.target, **call_fields(arguments))
    print(reply["call"])
    return 0


def end(arguments: argparse.Namespace) -> int:
    """End a call."""
    with EnforcerClient(paths.CALLS_SOCKET) as client:
        client.request("end", call=arguments.number)
    return 0
