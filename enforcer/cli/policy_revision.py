# SPDX-License-Identifier: Apache-2.0
"""One revision of a policy, as this node's agent or the control plane has it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enforcer import paths
from enforcer.cli.api import ask
from enforcer.cli.exits import CommandFailed
from enforcer.client import EnforcerClient

if TYPE_CHECKING:
    from controlplane.client import ApiClient
    from controlplane.contract.policy import Policy
    from controlplane.contract.records import PolicyRevision


@dataclass(frozen=True)
class Revision:
    """A policy's text, read, and the number under which it is kept."""

    number: int
    policy: Policy


def of_agent(name: str, number: int | None = None) -> Revision:
    """The revision in force on this node, or the one of that number."""
    from controlplane.contract.policy import parse_policy_object

    wanted = {} if number is None else {"revision": number}
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        shown = client.request("policy.show", name=name, **wanted)["policy"]
    found = int(shown["revision"])
    return Revision(found, parse_policy_object(shown["document"], f"revision {found}"))


def of_control_plane(
    arguments: argparse.Namespace, name: str, number: int | None = None
) -> Revision:
    """The newest revision, or the one of that number. CommandFailed where it is a removal."""
    from controlplane.contract.policy import parse_policy

    async def work(client: ApiClient) -> PolicyRevision:
        if number is None:
            return (await client.policy(name)).policy
        return await client.policy_revision(name, number)

    found = ask(arguments, work)
    label = f"{name}@{found.revision}"
    if found.removed:
        raise CommandFailed(f"policy {label}: is a removal, and has no text")
    return Revision(found.revision, parse_policy(found.text, label))
