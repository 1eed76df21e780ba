# SPDX-License-Identifier: Apache-2.0
"""Parsers of commands and their actions: each --help ends with the exit statuses."""

from __future__ import annotations

import argparse

from enforcer.cli.exits import EXIT_CODES


class HelpFormatter(argparse.HelpFormatter):
    """Fills paragraphs, and leaves text that has lines of its own as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def add_command(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    description: str | None = None,
) -> argparse.ArgumentParser:
    """One command; `text` stands in the list above it, and in its own help for a description."""
    return subparsers.add_parser(
        name,
        help=text,
        description=description or text[0].upper() + text[1:] + ".",
        epilog=EXIT_CODES,
        formatter_class=HelpFormatter,
    )
