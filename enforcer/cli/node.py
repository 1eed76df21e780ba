# SPDX-License-Identifier: Apache-2.0
"""lictor doctor, up, down, unload: this node's programs and agent."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from enforcer import paths
from enforcer.cli.exits import EXIT_FAILED, EXIT_NOT_ENFORCING
from enforcer.cli.output import print_json
from enforcer.client import EnforcerClient
from enforcer.wire import RequestError

READY_SECONDS = 120
STOP_SECONDS = 30
DEFAULT_POLICY = "observe"


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


def doctor(arguments: argparse.Namespace) -> int:
    """Check needs, then try the canary if programs are loaded."""
    from enforcer.preflight import attach_mode, run_checks
    from enforcer.preflight_check import as_data, passed, table

    checks = run_checks()
    canary, problem = _live_canary()
    enforcing = canary is not None and set(canary.values()) == {"denied"}
    agent = _agent_status()
    if arguments.json:
        print_json(
            {
                "enforcing": enforcing,
                "able": passed(checks),
                "mode": attach_mode(),
                "canary": canary,
                "problem": problem,
                "agent": agent is not None,
                "checks": as_data(checks),
            }
        )
    else:
        print("\n".join(table(checks)))
        print()
        print(f"agent:     {'running, pid ' + str(agent['pid']) if agent else 'not running'}")
        print(f"enforcing: {'yes' if enforcing else 'NO: ' + problem}")
    return 0 if enforcing else EXIT_NOT_ENFORCING


def _live_canary() -> tuple[dict[str, str] | None, str]:
    """(what each attempt met, why this node does not enforce)."""
    from enforcer.canary import run_canary
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
        results = run_canary(maps).results
    except (OSError, ValueError) as error:
        return None, f"the canary could not run: {error}"
    finally:
        maps.close()
    failed = {name: result for name, result in results.items() if result != "denied"}
    return results, f"the canary was not denied: {failed}" if failed else ""


def _agent_status() -> dict[str, Any] | None:
    try:
        with EnforcerClient(paths.ADMIN_SOCKET, timeout=10) as client:
            return client.request("status")
    except (OSError, RequestError):
        return None


def up(arguments: argparse.Namespace) -> int:
    """Load, start the agent, make sure that some policy is in force."""
    _need_root("up")
    print("lictor: loading the kernel programs", file=sys.stderr)
    command = [sys.executable, "-m", "enforcer.loader"]
    if arguments.reload:
        command.append("--reload")
    loaded = subprocess.run(command, cwd=paths.INSTALLATION)
    if loaded.returncode not in (0, 1):
        print("lictor: not loaded; see lictor doctor", file=sys.stderr)
        return EXIT_NOT_ENFORCING
    _stop_agent()
    _start_agent()
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        if not client.request("status")["policies"]:
            path = paths.SHIPPED_POLICIES / f"{DEFAULT_POLICY}.yaml"
            client.request("policy.apply", source=str(path), text=path.read_text())
            print(f"lictor: policy {DEFAULT_POLICY} in force (audit only)", file=sys.stderr)
    report = json.loads(paths.LOADER_REPORT.read_text())
    if not report["enforcing"]:
        print(f"lictor: NOT ENFORCING: {report.get('canary')}", file=sys.stderr)
        return EXIT_NOT_ENFORCING
    print(f"lictor: enforcing ({report['mode']}), agent ready", file=sys.stderr)
    return 0


def _start_agent() -> None:
    paths.LOG.mkdir(mode=0o750, parents=True, exist_ok=True)
    log = paths.LOG / "agent.log"
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "enforcer.agent"],
            cwd=paths.INSTALLATION,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise OSError(f"the agent ended with {process.returncode}; see {log}")
        if _agent_status() is not None:
            return
        time.sleep(0.1)
    raise OSError(f"the agent is not ready after {READY_SECONDS} s; see {log}")


def _running_agent() -> int | None:
    """Pid of the agent that holds the lock, None if none does."""
    try:
        with open(paths.AGENT_PID) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or 0) or None
    except FileNotFoundError:
        pass
    return None


def _stop_agent() -> bool:
    """Stop a running agent; False if there was none."""
    pid = _running_agent()
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _running_agent() == pid:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return True


def down(_arguments: argparse.Namespace) -> int:
    """Stop the agent only."""
    _need_root("down")
    stopped = _stop_agent()
    print(
        f"lictor: the agent {'is stopped' if stopped else 'was not running'}; policies stay in"
        " force in the kernel (lictor unload ends enforcement)",
        file=sys.stderr,
    )
    return 0


def unload(_arguments: argparse.Namespace) -> int:
    """Detach everything, loudly."""
    from enforcer import pins

    _need_root("unload")
    _stop_agent()
    loaded = bool(pins.sets())
    pins.remove_everything()
    paths.LOADER_REPORT.unlink(missing_ok=True)
    text = "UNLOADED: nothing is enforced on this node" if loaded else "nothing was loaded"
    print(f"lictor: {text}", file=sys.stderr)
    subprocess.run(["logger", "-p", "auth.crit", "-t", "lictor", text], check=False)
    return 0


def _need_root(command: str) -> None:
    if os.geteuid() != 0:
        print(f"lictor: {command} needs root", file=sys.stderr)
        sys.exit(EXIT_FAILED)
