# SPDX-License-Identifier: Apache-2.0
"""The `lictor` command line: parser, dispatch, exit codes.

Subcommands are imported only when called: `lictor run` and `lictor call exec` stand before
every command that they start, and must be quick.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from enforcer import VERSION
from enforcer.cli.exits import EXIT_CODES, EXIT_FAILED, EXIT_UNAVAILABLE, CommandFailed
from enforcer.cli.parsers import CommandParser, HelpFormatter, add_command

DESCRIPTION = """\
Keeps an AI agent inside the permissions that its operators gave it, in the kernel, and says
which tool call did what.

A first session, as root:
  lictor doctor                          what this machine has and lacks
  lictor up                              load the programs, start the agent
  lictor policy apply my-policy.yaml     put a policy into force
  lictor run --policy my-policy -- CMD   run a command under it
  lictor events --follow                 watch what is allowed and denied
  lictor incidents                       what was denied, by tool call
"""

# name -> (module, one line of help), in the order in which people need them
COMMANDS = {
    "doctor": ("node", "say what this machine has, what is missing and how to mend it"),
    "up": ("node", "load the kernel programs, restore policies, start the agent"),
    "down": ("node", "stop the agent; enforcement goes on without it"),
    "unload": ("node", "stop the agent and detach everything: nothing is enforced any more"),
    "policy": ("policy", "validate, apply, list, show, remove and roll back policies"),
    "run": ("run", "run a command in a fresh cgroup under a policy"),
    "call": ("call", "bind a tool call to processes"),
    "workloads": (
        "workloads",
        "list workloads with their policy and counts, and what is not covered",
    ),
    "exempt": ("exempt", "let one workload past its policy for a while, on record"),
    "events": ("events", "show what was allowed, denied and audited"),
    "explain": ("explain", "say why an event was denied, and what would allow it"),
    "incidents": ("incidents", "list, show and judge what was denied or audited, by tool call"),
    "episodes": ("episodes", "list, show, open and close episodes (trajectories)"),
    "nodes": ("nodes", "list nodes: whether each enforces, and what it has still to send"),
    "token": ("token", "make, list and revoke tokens of the control plane"),
    "backup": ("backup", "copy the control plane's database while it is in use"),
}


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the called subcommand's arguments are built."""
    parser = CommandParser(
        prog="lictor",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lictor {VERSION}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = next((word for word in argv if not word.startswith("-")), None)
    for name, (module, text) in COMMANDS.items():
        subparser = add_command(subparsers, name, text)
        if name == wanted:
            importlib.import_module(f"enforcer.cli.{module}").add_arguments(name, subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = build_parser(words).parse_args(words)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (`lictor events | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return 130
    except CommandFailed as error:
        print(f"lictor: {error}", file=sys.stderr)
        return error.status
    except Exception as error:
        from controlplane.contract.wire import RequestError
        from enforcer.client import EnforcerUnavailable

        if isinstance(error, EnforcerUnavailable):
            print(f"lictor: {error}", file=sys.stderr)
            return EXIT_UNAVAILABLE
        if isinstance(error, (RequestError, OSError, ValueError)):
            print(f"lictor: {error}", file=sys.stderr)
            return EXIT_FAILED
        raise
    return status


if __name__ == "__main__":
    sys.exit(main())
