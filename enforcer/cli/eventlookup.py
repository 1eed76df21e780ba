# SPDX-License-Identifier: Apache-2.0
"""Finding one event of this node by its id, and the policy that decided it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from controlplane.contract.event import event_id
from controlplane.contract.policy_devices import NVIDIA_MAJOR
from controlplane.contract.wire import RequestError
from enforcer import gpu, paths
from enforcer.cli.output import printable
from enforcer.client import EnforcerClient
from enforcer.names import boot_identity
from enforcer.spool import read_events

if TYPE_CHECKING:
    from controlplane.contract.policy import Policy

DRAIN_SECONDS = 30.0
_ID = re.compile(r"(?P<boot>.+)-(?P<workload>[0-9]+)-(?P<sequence>[0-9]+|x[0-9a-f]{12})")

FindGpus = Callable[[], list[gpu.Gpu] | None]


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


def find_event(wanted: str) -> dict[str, Any]:
    """The event of this id in the node's spool. ValueError where it is not there."""
    matches = id_matcher(wanted)
    need_spool()
    let_agent_drain()
    for event in read_events(paths.SPOOL):
        if matches(event):
            return event
    raise ValueError(
        f"event {wanted}: is not among the events of this node; the oldest go for room, see"
        " spool_dropped in `lictor workloads --json`"
    )


def shown_policy(client: EnforcerClient, name: str, revision: int | None = None) -> dict[str, Any]:
    """A policy as `policy.show` gives it: the one in force, or a revision of it."""
    wanted = {} if revision is None else {"revision": revision}
    shown: dict[str, Any] = client.request("policy.show", name=name, **wanted)["policy"]
    return shown


def parsed(shown: Mapping[str, Any]) -> Policy:
    """The policy of what `shown_policy` gave."""
    from controlplane.contract.policy import parse_policy_object

    return parse_policy_object(shown["document"], f"revision {shown['revision']}")


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
