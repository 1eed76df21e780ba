# SPDX-License-Identifier: Apache-2.0
"""lictor episodes: what happened in one trajectory, and whether the record is whole."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from enforcer.cli.api import add_api_command, ask, body
from enforcer.cli.incidents import print_incidents
from enforcer.cli.output import local_time, print_model, print_table, printable
from enforcer.cli.parsers import CommandParser

if TYPE_CHECKING:
    from controlplane.contract.records import Episode

DESCRIPTION = """\
Episodes (trajectories): what their tool calls did, and whether the record is whole.

  lictor episodes                                the list, newest first
  lictor episodes rome-0001                      one episode's record
  lictor episodes open rome-0001 --node gpu-17 --label model=m-7
"""


def add_arguments(_command: str, parser: CommandParser) -> None:
    """Arguments of the episode commands."""
    parser.description = DESCRIPTION
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show_parser = add_api_command(
        actions,
        "show",
        "list episodes, or show one's record (`show` may be left out)",
        description="Without ID: episodes, newest first. With ID: its tool calls, its incidents,"
        " how often what was decided, and whether events are missing. `show` may be left out.",
        json=True,
    )
    show_parser.add_argument("id", nargs="?", metavar="ID", help="as the executor named it")
    show_parser.set_defaults(run=show)
    open_parser = add_api_command(
        actions,
        "open",
        "say whose an episode is; one that tool calls name need not be opened",
    )
    open_parser.add_argument("id", metavar="ID", help="as tool calls will name it")
    open_parser.add_argument("--node", metavar="NAME", help="the node that it runs on")
    open_parser.add_argument("--workload", metavar="PATH", help="the cgroup path of its workload")
    open_parser.add_argument(
        "--label", action="append", default=[], type=_label, metavar="KEY=VALUE",
        help="anything worth keeping with it, such as model=m-7; may be repeated",
    )  # fmt: skip
    open_parser.set_defaults(run=open_episode)
    close_parser = add_api_command(actions, "close", "say that an episode is over")
    close_parser.add_argument("id", metavar="ID")
    close_parser.set_defaults(run=close)
    parser.imply("show", actions.choices)


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def show(arguments: argparse.Namespace) -> int:
    """A list, or one record."""
    if arguments.id is not None:
        episode = ask(arguments, lambda client: client.episode(arguments.id))
        if arguments.json:
            print_model(episode)
        else:
            _print_record(episode)
        return 0
    found = ask(arguments, lambda client: client.episodes())
    if arguments.json:
        print_model(found)
        return 0
    print_table(
        ("EPISODE", "STATE", "BEGAN", "CLOSED", "INCIDENTS"),
        [
            (each.id, each.state, local_time(each.created), local_time(each.closed), each.incidents)
            for each in found.episodes
        ],
    )
    return 0


def open_episode(arguments: argparse.Namespace) -> int:
    """Bind it."""
    from controlplane.contract.records import EpisodeBinding

    binding = body(
        EpisodeBinding,
        f"episode {printable(arguments.id)}",
        node=arguments.node,
        workload=arguments.workload,
        labels=dict(arguments.label),
    )
    _say(ask(arguments, lambda client: client.put_episode(arguments.id, binding)))
    return 0


def close(arguments: argparse.Namespace) -> int:
    """End it; late events still join it."""
    _say(ask(arguments, lambda client: client.close_episode(arguments.id)))
    return 0


def _say(episode: Episode) -> None:
    print(f"episode {printable(episode.id)}: {episode.state}")


def _print_record(episode: Episode) -> None:
    for label, text in _facts(episode):
        print(f"{label:<10}{printable(text)}")
    if episode.calls:
        print()
        print_table(
            ("STEP", "CALL", "TOOL", "BEGAN", "ENDED", "ENDING"),
            [
                (
                    each.step,
                    each.id,
                    each.tool,
                    local_time(each.started),
                    local_time(each.ended),
                    each.ending,
                )
                for each in sorted(episode.calls, key=lambda call: call.started)
            ],
        )
    if episode.incidents:
        print()
        print_incidents(episode.incidents)


def _facts(episode: Episode) -> Iterator[tuple[str, str]]:
    yield "episode", episode.id
    closed = f", closed {local_time(episode.closed)}" if episode.closed is not None else ""
    yield "state", f"{episode.state}, began {local_time(episode.created)}{closed}"
    for label in ("node", "workload"):
        if (bound := getattr(episode, label)) is not None:
            yield label, bound
    if episode.labels:
        yield "labels", " ".join(f"{key}={value}" for key, value in episode.labels.items())
    counts = [f"{count} {decision}" for decision, count in sorted(episode.decisions.items())]
    yield "events", ", ".join(counts) or "none"
    yield "record", episode.completeness.statement
