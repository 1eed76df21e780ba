# SPDX-License-Identifier: Apache-2.0
"""lictor policy validate, apply, list, show, remove."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from enforcer import paths
from enforcer.cli.exits import EXIT_FAILED
from enforcer.cli.output import print_json, print_table, printable
from enforcer.cli.parsers import add_command
from enforcer.client import EnforcerClient


def add_arguments(_command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of the policy commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    validate_parser = add_command(actions, "validate", "check files; needs no agent")
    validate_parser.add_argument("file", nargs="+", help="YAML file, - for standard input")
    validate_parser.set_defaults(run=validate)
    apply_parser = add_command(actions, "apply", "put files into force, as new revisions")
    apply_parser.add_argument("file", nargs="+", help="YAML file, - for standard input")
    apply_parser.add_argument("--json", action="store_true", help="one JSON object per file")
    apply_parser.set_defaults(run=apply)
    list_parser = add_command(actions, "list", "the policies in force")
    list_parser.add_argument("--json", action="store_true", help="one JSON object")
    list_parser.set_defaults(run=list_policies)
    show_parser = add_command(actions, "show", "one policy, as YAML in canonical form")
    show_parser.add_argument("name")
    show_parser.add_argument("--json", action="store_true", help="one JSON object")
    show_parser.set_defaults(run=show)
    remove_parser = add_command(
        actions, "remove", "take a policy out of force; what else covers its workloads then decides"
    )
    remove_parser.add_argument("name")
    remove_parser.set_defaults(run=remove)


def read_source(file: str) -> tuple[str, bytes]:
    """(name for messages, bytes) of a policy file."""
    if file == "-":
        return "<stdin>", sys.stdin.buffer.read()
    return file, Path(file).read_bytes()


def validate(arguments: argparse.Namespace) -> int:
    """Every fault of every file."""
    from controlplane.contract.policy import PolicyError, parse_policy

    faulty = False
    for file in arguments.file:
        source, text = read_source(file)
        try:
            policy = parse_policy(text, source)
        except PolicyError as error:
            faulty = True
            print(error, file=sys.stderr)
            continue
        print(f"{source}: policy {policy.name}: valid")
    return EXIT_FAILED if faulty else 0


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
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        policies = client.request("policy.list")["policies"]
    if arguments.json:
        print_json({"policies": policies})
        return 0
    print_table(
        ("NAME", "REVISION", "MODE", "APPLIED", "SELECTS"),
        [
            (
                row["name"],
                row["revision"],
                row["mode"],
                time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["applied"])),
                " ".join(row["select"]) or "(lictor run only)",
            )
            for row in policies
        ],
    )
    return 0


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
    print(f"policy {arguments.name}: removed; its revisions are kept")
    return 0
