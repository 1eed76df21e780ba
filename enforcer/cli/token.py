# SPDX-License-Identifier: Apache-2.0
"""lictor token: who may ask the control plane what."""

from __future__ import annotations

import argparse
import re
import sys
import time
from typing import TYPE_CHECKING

from enforcer.cli.api import add_api_command, ask, body
from enforcer.cli.output import local_time, print_model, print_table, printable

if TYPE_CHECKING:
    from controlplane.contract.records import Token

CREATE = """\
Makes a token. Its secret is shown this once, alone on standard output:

  (umask 077; lictor token create --name ci --role viewer --for 30d > ci.token)

To rotate one: make the new one, hand it out, revoke the old one.
"""
ROLES = ("viewer", "operator", "node", "tool")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_LIFE = re.compile(r"([0-9]{1,9})([smhdw])")


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of the token commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create_parser = add_api_command(
        actions,
        "create",
        "make a token; standard output is its secret, and nothing else",
        description=CREATE,
        json=True,
    )
    create_parser.add_argument("--name", required=True, help="who will use it; for the list")
    create_parser.add_argument(
        "--role", required=True, choices=ROLES,
        help="viewer reads; operator reads and changes; node is one node's uplink; tool opens"
        " and closes episodes",
    )  # fmt: skip
    create_parser.add_argument("--node", metavar="NAME", help="whose it is, for the role node")
    create_parser.add_argument(
        "--for", dest="seconds", type=_life, metavar="TIME",
        help="how long it is good, such as 12h, 30d or 4w; else without end",
    )  # fmt: skip
    create_parser.set_defaults(run=create)
    list_parser = add_api_command(actions, "list", "list tokens, without their secrets", json=True)
    list_parser.set_defaults(run=list_tokens)
    revoke_parser = add_api_command(
        actions, "revoke", "end a token: from the next request on it opens nothing"
    )
    revoke_parser.add_argument("id", metavar="ID", help="as in the list")
    revoke_parser.set_defaults(run=revoke)


def _life(text: str) -> int:
    match = _LIFE.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90s, 45m, 12h, 30d or 4w")
    return int(match[1]) * UNITS[match[2]]


def create(arguments: argparse.Namespace) -> int:
    """The secret on standard output, all else on standard error."""
    from controlplane.contract.records import TokenRequest

    request = body(
        TokenRequest,
        "token",
        name=arguments.name,
        role=arguments.role,
        node=arguments.node,
        seconds=arguments.seconds,
    )
    made = ask(arguments, lambda client: client.create_token(request))
    if arguments.json:
        print_model(made)
        return 0
    print(made.secret)
    token = made.token
    until = "without end" if token.expires is None else f"until {local_time(token.expires)}"
    print(
        f"lictor: token {token.id} ({printable(token.name)}, role {token.role}): good {until};"
        " the secret is not shown again",
        file=sys.stderr,
    )
    return 0


def list_tokens(arguments: argparse.Namespace) -> int:
    """Revoked and expired ones too."""
    found = ask(arguments, lambda client: client.tokens())
    if arguments.json:
        print_model(found)
        return 0
    print_table(
        ("ID", "NAME", "ROLE", "NODE", "STATE", "CREATED", "EXPIRES", "LAST USED"),
        [
            (
                each.id,
                each.name,
                each.role,
                each.node,
                _state(each),
                local_time(each.created),
                local_time(each.expires),
                local_time(each.last_used),
            )
            for each in found.tokens
        ],
    )
    return 0


def _state(token: Token) -> str:
    if token.revoked is not None:
        return "revoked"
    return "expired" if token.expires is not None and token.expires <= time.time() else "good"


def revoke(arguments: argparse.Namespace) -> int:
    """Once this returns, it is over."""
    ask(arguments, lambda client: client.revoke_token(arguments.id))
    print(f"token {printable(arguments.id)}: revoked")
    return 0
