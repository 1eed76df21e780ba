# SPDX-License-Identifier: Apache-2.0
"""lictor policy apply, list, show, remove through this node's agent: for this node alone."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from controlplane.contract.wire import RequestError
from enforcer import paths
from enforcer.cli.output import local_time, print_json, print_table, printable
from enforcer.cli.policy_files import read_source
from enforcer.client import EnforcerClient


def apply(arguments: argparse.Namespace) -> int:
    """Each file in its turn; the first that is refused ends it."""
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        for file in arguments.file:
            source, text = read_source(file)
            reply = client.request("policy.apply", source=source, text=text)
            row = reply["policy"]
            if arguments.json:
                print(json.dumps({k: reply[k] for k in ("policy", "workloads", "warnings")}))
                continue
            print(
                f"policy {row['name']}: revision {row['revision']} in force ({row['mode']}),"
                f" {reply['workloads']} workloads covered"
            )
            for warning in reply["warnings"]:
                print(f"policy {row['name']}: note: {warning}", file=sys.stderr)
    return 0


def list_policies(arguments: argparse.Namespace) -> int:
    """Name, revision, mode, selectors."""
    policies = _listed()
    if arguments.json:
        print_json({"policies": policies})
        return 0
    print_table(("NAME", "REVISION", "MODE", "APPLIED", "SELECTS"), map(row_cells, policies))
    return 0


def row_cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    """Name, revision, mode, time, selectors."""
    selects = " ".join(row["select"]) or "(lictor run only)"
    return row["name"], row["revision"], row["mode"], local_time(row["applied"]), selects


def own_policies() -> list[dict[str, Any]] | None:
    """What this node's agent has in force; None where none answers, or not to us."""
    try:
        return _listed()
    except (OSError, RequestError):
        return None


def _listed() -> list[dict[str, Any]]:
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        policies: list[dict[str, Any]] = client.request("policy.list")["policies"]
    return policies


def show(arguments: argparse.Namespace) -> int:
    """The document in force."""
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        policy = client.request("policy.show", name=arguments.name)["policy"]
    if arguments.json:
        print_json(policy)
        return 0
    import yaml

    print(f"# revision {policy['revision']}, digest {printable(policy['digest'])}")
    print(yaml.safe_dump(policy["document"], sort_keys=False), end="")
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Take a policy out of force."""
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        client.request("policy.remove", name=arguments.name)
    if arguments.json:
        print_json({"name": arguments.name, "removed": True})
        return 0
    print(f"policy {arguments.name}: removed; its revisions are kept")
    return 0
