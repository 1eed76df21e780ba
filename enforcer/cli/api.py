# SPDX-License-Identifier: Apache-2.0
"""Asking the control plane: where it is, who asks, and what a refusal looks like to a person.

The client is imported when it is used: it is slow to import, and --help needs none of it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from enforcer import paths
from enforcer.cli.exits import EXIT_UNAVAILABLE, CommandFailed
from enforcer.cli.output import printable
from enforcer.cli.parsers import Parser, add_command

if TYPE_CHECKING:
    from pydantic import BaseModel

    from controlplane.client import ApiClient, ApiError

Answer = TypeVar("Answer")
Body = TypeVar("Body", bound="BaseModel")

ADDRESS = "LICTOR_API_ADDRESS"
TOKEN_FILE = "LICTOR_TOKEN_FILE"
CA_FILE = "LICTOR_CA_FILE"


def add_api_arguments(parser: argparse.ArgumentParser) -> None:
    """Which control plane, and as whom."""
    group = parser.add_argument_group("control plane")
    group.add_argument(
        "--api",
        metavar="ADDRESS",
        help=f"unix:PATH or https://HOST[:PORT]; else {ADDRESS} of the environment, else"
        f" unix:{paths.CONTROLPLANE_SOCKET}",
    )
    group.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"file that holds a token (lictor token create); else {TOKEN_FILE} of the"
        " environment. On the Unix socket root needs none",
    )
    group.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help=f"authorities of an https control plane, PEM; else {CA_FILE} of the environment,"
        " else the system's",
    )


def add_api_command(
    actions: argparse._SubParsersAction[Parser],
    name: str,
    text: str,
    description: str | None = None,
    *,
    json: bool = False,
) -> Parser:
    """An action that asks the control plane."""
    parser = add_command(actions, name, text, description)
    if json:
        parser.add_argument("--json", action="store_true", help="JSON instead of text")
    add_api_arguments(parser)
    return parser


def add_node_arguments(parser: argparse.ArgumentParser, text: str) -> None:
    """One node of the control plane's, or this one without it; text: what is shown then."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--node", metavar="NAME", help="only this node's, from the control plane")
    group.add_argument("--node-only", action="store_true", help=text)


def api_address(arguments: argparse.Namespace) -> str:
    """The control plane's address, given, set, or this machine's own."""
    given: str | None = arguments.api or os.environ.get(ADDRESS)
    return given or f"unix:{paths.CONTROLPLANE_SOCKET}"


def asks_control_plane(arguments: argparse.Namespace) -> bool:
    """Whether a control plane is asked, and not this node alone.

    It is where one is named or meant to serve on this machine, or another node may be meant.
    """
    if arguments.node_only:
        return False
    named = arguments.api or os.environ.get(ADDRESS) or getattr(arguments, "node", None)
    return bool(named) or paths.CONTROLPLANE_SOCKET.exists()


def ask(arguments: argparse.Namespace, work: Callable[[ApiClient], Awaitable[Answer]]) -> Answer:
    """What `work` gives when it is called with a client.

    Raises CommandFailed for what the control plane refuses, and if none answers.
    """
    from controlplane.client import ApiClient, ApiError, ApiUnavailable

    token = _token(arguments)

    async def whole() -> Answer:
        async with ApiClient(
            api_address(arguments), token=token, ca_file=_file(arguments.ca_file, CA_FILE)
        ) as client:
            return await work(client)

    try:
        return asyncio.run(whole())
    except ApiUnavailable as error:
        advice = "no control plane answers there: lictor up starts one, --api names another"
        if "node_only" in arguments:
            advice += ", --node-only asks this node alone"
        raise CommandFailed(f"{error}\n  {advice}", EXIT_UNAVAILABLE) from None
    except ApiError as error:
        text = _refusal(error)
        if error.status == HTTPStatus.UNAUTHORIZED and token is None:
            text += "\n  be root on the control plane's own machine, or give --token-file FILE"
        if error.status == HTTPStatus.NOT_FOUND and "node_only" in arguments:
            text += "\n  what this node alone has is asked for with --node-only"
        raise CommandFailed(text) from None


def body(model: type[Body], what: str, **fields: Any) -> Body:
    """What is to be sent, without what was not given; CommandFailed names each wrong field."""
    from pydantic import ValidationError

    try:
        return model(**{name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        faults = [
            f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        ]
        raise CommandFailed("\n".join([f"{what}: is not sent", *faults])) from None


def _file(given: Path | None, variable: str) -> Path | None:
    if given is None and (named := os.environ.get(variable)):
        return Path(named)
    return given


def _token(arguments: argparse.Namespace) -> str | None:
    path = _file(arguments.token_file, TOKEN_FILE)
    if path is None:
        return None
    token = path.read_bytes().strip()
    if not token.isascii() or len(token.split()) != 1:
        raise CommandFailed(f"token file {path}: holds no token")
    return token.decode("ascii")


def _refusal(error: ApiError) -> str:
    """The problem with every fault on a line of its own."""
    problem = error.problem
    lines = [printable(problem.detail or problem.title)]
    for fault in problem.faults:
        place = f"{fault.field}: " if fault.field else ""
        line = f" (line {fault.line})" if fault.line is not None else ""
        lines.append(f"  {printable(place + fault.message)}{line}")
    return "\n".join(lines)
