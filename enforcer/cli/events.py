# SPDX-License-Identifier: Apache-2.0
"""lictor events: what the node has recorded, as a table or as JSON lines."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from controlplane.contract.event import event_id
from enforcer import paths
from enforcer.cli.eventlookup import id_matcher, let_agent_drain, need_spool
from enforcer.cli.output import printable
from enforcer.spool import read_events


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of `events`."""
    parser.add_argument("--json", action="store_true", help="JSON lines, schema version 1")
    parser.add_argument("--follow", "-f", action="store_true", help="go on with new events")
    parser.add_argument("--id", metavar="EVENT", help="only this event: the table's last column")
    parser.add_argument("--workload", metavar="PATH", help="only this workload's cgroup")
    parser.add_argument("--episode", metavar="ID", help="only events of this episode's calls")
    parser.add_argument("--call", metavar="ID", help="only events of this tool call")
    parser.add_argument("--policy", metavar="NAME", help="only what this policy decided")
    parser.add_argument("--kind", help="connect, send, socket, exec, device, unix, escape, …")
    parser.add_argument("--decision", choices=("allowed", "denied", "audited"))
    parser.set_defaults(run=events)


def events(arguments: argparse.Namespace) -> int:
    """Print what matches."""
    has_id = id_matcher(arguments.id) if arguments.id is not None else None
    need_spool()
    let_agent_drain()
    for event in read_events(paths.SPOOL, follow=arguments.follow):
        if not _matches(event, arguments) or (has_id is not None and not has_id(event)):
            continue
        print(json.dumps(event) if arguments.json else _line(event), flush=arguments.follow)
    return 0


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
        who = {"after": "after:", "ended": "ended:"}.get(call["state"], "") + str(call["id"])
    parts = [
        time.strftime("%H:%M:%S", time.localtime(event["time"])),
        event["decision"].upper() if event["decision"] != "allowed" else "allowed",
        event["kind"],
        _object(event),
        f"{event['subject']['comm']}[{event['subject']['pid']}]",
        f"call={who}",
        f"{event['policy']}#{event['revision']}:{event['rule'] or event['reason']}",
        event["workload"],
        event_id(event),
    ]
    widths = (8, 8, 8, 34, 20, 18, 0, 0, 0)
    cells = (printable(part).ljust(width) for part, width in zip(parts, widths, strict=True))
    return " ".join(cells)


def _object(event: dict[str, Any]) -> str:
    object_ = event["object"]
    match event["kind"]:
        case "connect" | "send":
            address = object_["address"]
            if ":" in address:
                address = f"[{address}]"
            return f"{object_['protocol']} {address}:{object_['port']}"
        case "exec" | "unix":
            return str(object_["path"])
        case "device":
            name = object_["class"] or object_["type"]
            return f"{name} {object_['major']}:{object_['minor']}"
        case "socket":
            return f"{object_['family']} {object_['type']} {object_['protocol']}"
    return "-"
