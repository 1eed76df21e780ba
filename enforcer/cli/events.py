# SPDX-License-Identifier: Apache-2.0
"""lictor events: what nodes have recorded, as a table or as JSON lines."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from controlplane.contract.event import event_id
from enforcer import paths
from enforcer.cli.api import add_api_arguments, add_node_arguments, ask, asks_control_plane
from enforcer.cli.eventlookup import id_matcher, let_agent_drain, need_spool
from enforcer.cli.output import local_time, printable
from enforcer.spool import read_events

if TYPE_CHECKING:
    from controlplane.client import ApiClient

DESCRIPTION = """\
Shows what was allowed, denied and audited, oldest first. The control plane is asked where one is
named or serves on this machine, for all nodes; what a node has not sent yet is not there (UNSENT in
`lictor nodes`). Else, or with --node-only, it is what this node has on disk.
"""
PAGE = 1000
POLL_SECONDS = 0.5


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of `events`."""
    parser.description = DESCRIPTION
    parser.add_argument("--json", action="store_true", help="JSON lines, schema version 1")
    parser.add_argument("--follow", "-f", action="store_true", help="go on with new events")
    parser.add_argument("--id", metavar="EVENT", help="only this event: the table's last column")
    add_node_arguments(parser, "what this node has on disk, also if there is a control plane")
    parser.add_argument("--workload", metavar="PATH", help="only this workload's cgroup")
    parser.add_argument("--episode", metavar="ID", help="only events of this episode's calls")
    parser.add_argument("--call", metavar="ID", help="only events of this tool call")
    parser.add_argument("--policy", metavar="NAME", help="only what this policy decided")
    parser.add_argument("--kind", help="connect, send, socket, exec, device, unix, escape, …")
    parser.add_argument("--decision", choices=("allowed", "denied", "audited"))
    add_api_arguments(parser)
    parser.set_defaults(run=events)


def events(arguments: argparse.Namespace) -> int:
    """Print what matches."""
    has_id = id_matcher(arguments.id) if arguments.id is not None else None
    if asks_control_plane(arguments):
        ask(arguments, lambda client: _show_all(client, arguments))
        return 0
    need_spool()
    let_agent_drain()
    for event in read_events(paths.SPOOL, follow=arguments.follow):
        if _matches(event, arguments) and (has_id is None or has_id(event)):
            _show(event, arguments)
    return 0


async def _show_all(client: ApiClient, arguments: argparse.Namespace) -> None:
    """Page after page of the control plane's; with --follow without end."""
    after = 0
    while True:
        page = await client.events(
            id=arguments.id, node=arguments.node, workload=arguments.workload,
            episode=arguments.episode, call=arguments.call, policy=arguments.policy,
            kind=arguments.kind, decision=arguments.decision, after=after, limit=PAGE,
        )  # fmt: skip
        for stored in page.events:
            _show(stored.event, arguments)
        after = page.next
        if len(page.events) < PAGE:
            if not arguments.follow:
                return
            await asyncio.sleep(POLL_SECONDS)


def _show(event: dict[str, Any], arguments: argparse.Namespace) -> None:
    print(json.dumps(event) if arguments.json else _line(event), flush=arguments.follow)


def _matches(event: dict[str, Any], arguments: argparse.Namespace) -> bool:
    call = event["tag"]["call"] or {}
    wanted = (
        (arguments.workload, event["workload"]),
        (arguments.episode, call.get("episode")),
        (arguments.call, call.get("id")),
        (arguments.policy, event["policy"]),
        (arguments.kind, event["kind"]),
        (arguments.decision, event["decision"]),
    )
    return all(want is None or want == have for want, have in wanted)


def _line(event: dict[str, Any]) -> str:
    call = event["tag"]["call"]
    who = "-"
    if call is not None:
        state = {"after": "after:", "ended": "ended:"}.get(call.get("state"), "")
        who = f"{state}{call.get('id')}"
    parts = [
        local_time(event["time"], "%H:%M:%S"),
        event["decision"].upper() if event["decision"] != "allowed" else "allowed",
        event["kind"],
        _object(event["kind"], event["object"]),
        f"{event['subject'].get('comm')}[{event['subject']['pid']}]",
        f"call={who}",
        f"{event['policy']}#{event['revision']}:{event['rule'] or event['reason']}",
        event["node"],
        event["workload"],
        event_id(event),
    ]
    widths = (8, 8, 8, 34, 20, 18, 0, 0, 0, 0)
    cells = (printable(part).ljust(width) for part, width in zip(parts, widths, strict=True))
    return " ".join(cells)


def _object(kind: str, what: Mapping[str, Any]) -> str:
    # The control plane takes what a node says of an object without looking into it.
    match kind:
        case "connect" | "send":
            address = str(what.get("address"))
            if ":" in address:
                address = f"[{address}]"
            return f"{what.get('protocol')} {address}:{what.get('port')}"
        case "inbound":
            return f"{what.get('protocol')} from {what.get('address')} to :{what.get('local_port')}"
        case "exec" | "mapping" | "unix":
            return str(what.get("path"))
        case "device":
            name = what.get("class") or what.get("type")
            return f"{name} {what.get('major')}:{what.get('minor')}"
        case "socket":
            return f"{what.get('family')} {what.get('type')} {what.get('protocol')}"
        case "exempt" | "exempt_end":
            return str(what.get("reason"))
        case "guard":
            parts = (what.get("operation"), what.get("detail"), what.get("target"))
            return " ".join(str(part) for part in parts if part is not None)
    return "-"
