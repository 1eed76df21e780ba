# SPDX-License-Identifier: Apache-2.0
"""lictor policy diff: what one revision or file says and another does not."""

from __future__ import annotations

import argparse
import difflib
from dataclasses import dataclass
from typing import Any

from enforcer.cli.api import add_api_command, asks_control_plane
from enforcer.cli.exits import CommandFailed
from enforcer.cli.output import print_json, printable
from enforcer.cli.parsers import Parser
from enforcer.cli.policy_files import read_source
from enforcer.cli.policy_revision import of_agent, of_control_plane

DESCRIPTION = """\
Compares two policies in canonical form, where order of fields and comments mean nothing. Each
is NAME (in force), NAME@REVISION, or a file (with a slash in it, or ending in .yaml or .yml;
- is standard input). Prints nothing where they say the same. Revisions are the control
plane's where one is named or serves on this machine, else this node's.
"""


@dataclass(frozen=True)
class _Side:
    """One of the two. revision: None for a file."""

    name: str
    revision: int | None
    source: str
    document: dict[str, Any]

    def lines(self) -> list[str]:
        import yaml

        text = yaml.safe_dump(self.document, sort_keys=False, allow_unicode=True)
        return text.splitlines(keepends=True)

    def reference(self) -> dict[str, Any]:
        return {"name": self.name, "revision": self.revision, "source": self.source}


def add_diff(actions: argparse._SubParsersAction[Parser]) -> None:
    """`diff`, below `lictor policy`."""
    parser = add_api_command(
        actions, "diff", "compare two revisions, or a file with one", DESCRIPTION, json=True
    )
    parser.add_argument("before", metavar="NAME_OR_FILE")
    parser.add_argument("after", metavar="OTHER")
    parser.add_argument(
        "--node-only", action="store_true", help="revisions are those of this node's agent"
    )
    parser.set_defaults(run=diff)


def diff(arguments: argparse.Namespace) -> int:
    """Unified, of the canonical YAML."""
    before, after = _side(arguments, arguments.before), _side(arguments, arguments.after)
    lines = list(difflib.unified_diff(before.lines(), after.lines(), before.source, after.source))
    if arguments.json:
        print_json(
            {
                "before": before.reference(),
                "after": after.reference(),
                "same": not lines,
                "diff": "".join(lines),
            }
        )
        return 0
    for line in lines:
        print(printable(line.rstrip("\n")))
    return 0


def _side(arguments: argparse.Namespace, given: str) -> _Side:
    if given == "-" or "/" in given or given.endswith((".yaml", ".yml")):
        from controlplane.contract.policy import parse_policy

        source, text = read_source(given)
        policy = parse_policy(text, source)
        return _Side(policy.name, None, source, policy.to_document())
    name, at, number = given.partition("@")
    if at and not (number.isascii() and number.isdigit() and 0 < int(number) < 1 << 31):
        raise CommandFailed(f"policy {printable(given)}: after '@' comes the number of a revision")
    revision = int(number) if at else None
    if asks_control_plane(arguments):
        found = of_control_plane(arguments, name, revision)
    else:
        found = of_agent(name, revision)
    return _Side(name, found.number, f"{name}@{found.number}", found.policy.to_document())
