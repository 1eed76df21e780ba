# SPDX-License-Identifier: Apache-2.0
"""lictor doctor, up, down, unload: this node's programs and agent."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from controlplane.contract.wire import RequestError
from enforcer import paths
from enforcer.cli import daemons
from enforcer.cli.exits import EXIT_FAILED, EXIT_NOT_ENFORCING
from enforcer.cli.output import local_time, print_json, printable
from enforcer.client import EnforcerClient

DEFAULT_POLICY = "observe"
REPORTED = ("enforcing", "problem", "enforcing_since", "canary_at")


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of the four commands."""
    handlers = {"doctor": doctor, "up": up, "down": down, "unload": unload}
    parser.set_defaults(run=handlers[command])
    if command == "doctor":
        parser.add_argument("--json", action="store_true", help="one JSON object")
    if command == "up":
        parser.add_argument(
            "--reload",
            action="store_true",
            help="load the kernel programs anew even if these very ones are attached",
        )
        parser.add_argument(
            "--node-only",
            action="store_true",
            help="loader and agent: no control plane on this machine, and no uplink to one",
        )


def doctor(arguments: argparse.Namespace) -> int:
    """Check needs, then try the canary if programs are loaded."""
    from enforcer.preflight import attach_mode, run_checks
    from enforcer.preflight_check import as_data, passed, table

    checks = run_checks()
    canary, problem = _live_canary()
    enforcing = canary is not None and not problem
    agent = _agent_status()
    exempt = _exempt()
    # An agent of before an upgrade may say less.
    reported = agent if agent and "canary_at" in agent else _kept_condition()
    if arguments.json:
        print_json(
            {
                "enforcing": enforcing,
                "able": passed(checks),
                "mode": attach_mode(),
                "canary": canary,
                "problem": problem,
                "agent": agent is not None,
                "exempt": exempt,
                "reported": {name: reported.get(name) for name in REPORTED},
                "checks": as_data(checks),
            }
        )
    else:
        print("\n".join(table(checks)))
        print()
        print(f"agent:     {'running, pid ' + str(agent['pid']) if agent else 'not running'}")
        print(f"reported:  {_in_words(reported)}")
        print(f"enforcing: {'yes' if enforcing else 'NO: ' + problem}")
        for row in exempt:
            path, reason = printable(row["workload"]), printable(row["reason"])
            print(f"EXEMPT:    {path} until {local_time(row['until'])}: {reason}")
    return 0 if enforcing else EXIT_NOT_ENFORCING


def _kept_condition() -> dict[str, Any]:
    """How the node is by what lies in /run; empty where only root can see that."""
    from enforcer.condition import node_condition

    return node_condition(None) if os.geteuid() == 0 else {}


def _in_words(condition: dict[str, Any]) -> str:
    """How the node was when its agent's canary last ran: what the control plane hears."""
    if "enforcing" not in condition:
        return "unknown"
    verdict = "enforcing" if condition["enforcing"] else f"NOT enforcing: {condition['problem']}"
    since, last = local_time(condition["enforcing_since"]), local_time(condition["canary_at"])
    return f"{verdict}; since {since}, last canary {last}"


def _live_canary() -> tuple[dict[str, str] | None, str]:
    """(what each attempt met, why this node does not enforce)."""
    from enforcer.canary import run_canary
    from enforcer.canary_state import CanaryReport
    from enforcer.maps import Maps

    if os.geteuid() != 0:
        return None, "only root can see and try the programs"
    try:
        maps = Maps.open()
    except FileNotFoundError:
        return None, "no programs are loaded (lictor up)"
    except OSError as error:
        return None, str(error)
    try:
        report = run_canary(maps)
    except (OSError, ValueError) as error:
        return None, CanaryReport(error=str(error)).problem
    finally:
        maps.close()
    return report.results, report.problem


def _exempt() -> list[dict[str, Any]]:
    """From the kernel's map, for the agent may be away."""
    from enforcer.exemptions import Exemptions, exemption_row
    from enforcer.maps import Maps

    try:
        maps = Maps.open()
    except OSError:
        return []
    try:
        return [exemption_row(each) for each in Exemptions(maps).active().values()]
    finally:
        maps.close()


def _agent_status() -> dict[str, Any] | None:
    try:
        with EnforcerClient(paths.ADMIN_SOCKET, timeout=10) as client:
            return client.request("status")
    except (OSError, RequestError):
        return None


def up(arguments: argparse.Namespace) -> int:
    """Load, start the daemons, make sure that some policy is in force."""
    _need_root("up")
    print("lictor: loading the kernel programs", file=sys.stderr)
    command = [sys.executable, "-m", "enforcer.loader"]
    if arguments.reload:
        command.append("--reload")
    loaded = subprocess.run(command, cwd=paths.INSTALLATION)
    if loaded.returncode not in (0, 1):
        print("lictor: not loaded; see lictor doctor", file=sys.stderr)
        return EXIT_NOT_ENFORCING
    daemons.agent().start()
    if not arguments.node_only:
        daemons.controlplane().start()
        daemons.uplink().start()
    _need_a_policy(arguments)
    report = json.loads(paths.LOADER_REPORT.read_text())
    if not report["enforcing"]:
        print(f"lictor: NOT ENFORCING: {report.get('canary')}", file=sys.stderr)
        return EXIT_NOT_ENFORCING
    ready = "agent ready" if arguments.node_only else "agent, control plane and uplink ready"
    print(f"lictor: enforcing ({report['mode']}), {ready}", file=sys.stderr)
    return 0


def _need_a_policy(arguments: argparse.Namespace) -> None:
    """Where none is in force: the shipped one that only watches."""
    from enforcer.cli.main import main

    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        if client.request("status")["policies"]:
            return
    command = ["policy", "apply", str(paths.SHIPPED_POLICIES / f"{DEFAULT_POLICY}.yaml")]
    if arguments.node_only:
        command.append("--node-only")
    print(f"lictor: no policy yet: lictor {' '.join(command)} (audit only)", file=sys.stderr)
    main(command)


def down(_arguments: argparse.Namespace) -> int:
    """Stop the daemons; the programs stay."""
    _need_root("down")
    # The uplink first: it would miss the others.
    running = (daemons.uplink(), daemons.controlplane(), daemons.agent())
    stopped = [daemon.name for daemon in running if daemon.stop()]
    print(
        f"lictor: stopped: {', '.join(stopped) or 'nothing was running'}; policies stay in force"
        " in the kernel (lictor unload ends enforcement)",
        file=sys.stderr,
    )
    return 0


def unload(_arguments: argparse.Namespace) -> int:
    """Detach everything, loudly."""
    from enforcer import canary, pins

    _need_root("unload")
    daemons.agent().stop()
    daemons.uplink().stop()
    loaded = bool(pins.sets())
    pins.remove_everything()
    canary.remove_cgroup()
    paths.LOADER_REPORT.unlink(missing_ok=True)
    paths.CANARY_STATE.unlink(missing_ok=True)
    text = "UNLOADED: nothing is enforced on this node" if loaded else "nothing was loaded"
    print(f"lictor: {text}", file=sys.stderr)
    subprocess.run(["logger", "-p", "auth.crit", "-t", "lictor", text], check=False)
    return 0


def _need_root(command: str) -> None:
    if os.geteuid() != 0:
        print(f"lictor: {command} needs root", file=sys.stderr)
        sys.exit(EXIT_FAILED)
