# SPDX-License-Identifier: Apache-2.0
"""Parsers of commands and their actions: each --help ends with the exit statuses."""

from __future__ import annotations

import argparse
from collections.abc import Container, Sequence
from typing import Any, TypeVar

from enforcer.cli.exits import EXIT_CODES

Parser = TypeVar("Parser", bound=argparse.ArgumentParser)


class HelpFormatter(argparse.HelpFormatter):
    """Fills paragraphs, and leaves text that has lines of its own as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class CommandParser(argparse.ArgumentParser):
    """A parser whose most used action need not be written."""

    _implied: tuple[str, Container[str]] | None = None

    def imply(self, action: str, among: Container[str]) -> None:
        """Whatever does not begin with one of the actions `among` is meant for `action`."""
        self._implied = (action, among)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse does."""
        if self._implied is not None and args is not None:
            action, actions = self._implied
            if not args or (args[0] not in actions and args[0] not in ("-h", "--help")):
                args = [action, *args]
        return super().parse_known_args(args, namespace)


def add_command(
    subparsers: argparse._SubParsersAction[Parser],
    name: str,
    text: str,
    description: str | None = None,
) -> Parser:
    """One command; `text` stands in the list above it, and in its own help for a description."""
    return subparsers.add_parser(
        name,
        help=text,
        description=description or text[0].upper() + text[1:] + ".",
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
