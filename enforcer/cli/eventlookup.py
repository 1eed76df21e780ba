# SPDX-License-Identifier: Apache-2.0
"""Finding one event by its id, on this node or in the control plane."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from controlplane.contract.event import event_id
from controlplane.contract.policy_devices import NVIDIA_MAJOR
from controlplane.contract.wire import RequestError
from enforcer import gpu, paths
from enforcer.cli.api import ask, asks_control_plane
from enforcer.cli.output import printable
from enforcer.client import EnforcerClient
from enforcer.names import boot_identity
from enforcer.spool import read_events

if TYPE_CHECKING:
    from controlplane.client import ApiClient
    from controlplane.contract.records import StoredEvent

DRAIN_SECONDS = 30.0
_ID = re.compile(r"(?P<boot>.+)-(?P<workload>[0-9]+)-(?P<sequence>[0-9]+|x[0-9a-f]{12})")

FindGpus = Callable[[], list[gpu.Gpu] | None]


@dataclass(frozen=True)
class FoundEvent:
    """An event. here: this node recorded it; else the control plane has it of some node."""

    event: dict[str, Any]
    here: bool


def let_agent_drain() -> None:
    """Ask the agent something: it has read the rings by the time it answers."""
    try:
        with EnforcerClient(paths.ADMIN_SOCKET, timeout=DRAIN_SECONDS) as client:
            client.request("drain")
    except (OSError, RequestError) as error:
        print(f"lictor: events up to now may be missing: {error}", file=sys.stderr)


def need_spool() -> None:
    """OSError where the node has recorded nothing yet."""
    if not paths.SPOOL.is_dir():
        raise OSError(f"{paths.SPOOL}: no events yet; start the agent: lictor up")


def id_matcher(wanted: str) -> Callable[[Mapping[str, Any]], bool]:
    """Does an event have this id? ValueError where the text is no id."""
    parts = _ID.fullmatch(wanted)
    if parts is None:
        raise ValueError(
            f"event {printable(wanted)}: is not an event's id, such as b656d6bf-1613-21:"
            " `lictor events` shows it in the last column"
        )
    workload, sequence = int(parts["workload"]), parts["sequence"]

    def matches(event: Mapping[str, Any]) -> bool:
        # Cheap first: the id of an event without a sequence needs a hash.
        return (
            event["workload_id"] == workload
            and (sequence[0] == "x") == (event["sequence"] is None)
            and event_id(event) == wanted
        )

    return matches


def find_event(arguments: argparse.Namespace, wanted: str) -> FoundEvent:
    """The event of this id: this node's, else any node's of the control plane, if one is asked.

    ValueError where it is in neither.
    """
    matches = id_matcher(wanted)
    fleet = asks_control_plane(arguments)
    if not fleet:
        need_spool()
    if not fleet or (paths.SPOOL.is_dir() and os.access(paths.SPOOL, os.R_OK | os.X_OK)):
        let_agent_drain()
        for event in read_events(paths.SPOOL):
            if matches(event):
                return FoundEvent(event, here=True)
    if fleet and (shipped := _of_control_plane(arguments, wanted)) is not None:
        return FoundEvent(shipped, here=False)
    known = "known to the control plane, nor " if fleet else ""
    raise ValueError(
        f"event {wanted}: is not {known}among the events of this node; the oldest go for room, see"
        " spool_dropped in `lictor workloads --json`"
    )


def _of_control_plane(arguments: argparse.Namespace, wanted: str) -> dict[str, Any] | None:
    async def work(client: ApiClient) -> list[StoredEvent]:
        return (await client.events(id=wanted, limit=1)).events

    found = ask(arguments, work)
    if not found:
        return None
    event = found[0].event
    grants = event["tag"].get("grants")
    # The control plane takes what a node says of them without looking into it.
    if not isinstance(grants, list) or not all(isinstance(each, str) for each in grants):
        raise ValueError(f"event {wanted}: tag.grants: {grants!r:.80} is not a list of names")
    return event


def gpu_names(
    event: Mapping[str, Any], find: FindGpus = gpu.nvml_gpus
) -> dict[tuple[int, int], tuple[int | str, ...]]:
    """What a policy may call the GPU of each device number, the UUID first.

    Empty for an event of another boot: numbers may have gone to other GPUs since.
    """
    if event["kind"] != "device" or event["boot"] != boot_identity()[0]:
        return {}
    known = find() or gpu.driver_gpus()
    if known is None:
        # Then a policy's index is taken for the minor number: enforcer/gpu.py.
        minor = event["object"]["minor"]
        return {(NVIDIA_MAJOR, minor): (minor,)} if minor not in gpu.CONTROL_MINORS else {}
    names: dict[tuple[int, int], tuple[int | str, ...]] = {}
    shared = set(gpu.CONTROL_MINORS)
    for each in known:
        for rule in gpu.resolve_gpus((each.index,), "gpus", find=lambda: known):
            if rule.minor is not None and not (rule.major == NVIDIA_MAJOR and rule.minor in shared):
                names[rule.major, rule.minor] = (each.uuid, each.index)
    return names
