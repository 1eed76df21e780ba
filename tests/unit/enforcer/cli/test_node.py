# SPDX-License-Identifier: Apache-2.0
"""`lictor doctor`, `down` and `unload` on a node where nothing is loaded."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.wire import RequestError
from enforcer import canary_state, cgroups, paths, preflight
from enforcer.canary_state import CanaryReport
from enforcer.cli import daemons
from enforcer.cli.main import main
from enforcer.cli.output import local_time
from enforcer.preflight_check import Check
from tests.unit.enforcer.cli.conftest import StartAgent

DENIED = dict.fromkeys(("connect", "send", "device", "exec"), "denied")


@pytest.fixture(autouse=True)
def _checks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Check("kernel", True, "6.1"), Check("btf", False, "", "no BTF", "another kernel")]
    monkeypatch.setattr(preflight, "run_checks", lambda: found)


def test_doctor_says_that_nothing_is_enforced_and_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor"]) == 4
    output = capsys.readouterr().out
    assert "enforcing: NO: no programs are loaded (lictor up)" in output
    assert "agent:     not running" in output
    assert "mend: another kernel" in output


def test_doctors_json_has_enforcing_at_the_top(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["enforcing"] is False
    assert found["able"] is False
    assert found["agent"] is False
    assert found["mode"] in ("lsm", "fmod_ret")
    assert [check["name"] for check in found["checks"]] == ["kernel", "btf"]


@pytest.mark.parametrize(
    ("results", "enforcing", "problem"),
    [
        (DENIED, True, ""),
        ({**DENIED, "connect": "connected"}, False, "was not denied: {'connect': 'connected'}"),
        ({**DENIED, "exec": "ended with 512"}, False, "could not run: {'exec': 'ended with 512'}"),
    ],
)
def test_doctor_believes_only_a_denial_that_happened(
    results: dict[str, str], enforcing: bool, problem: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from enforcer import canary, maps
    from tests.unit.enforcer.tables import MemoryMaps

    monkeypatch.setattr(maps.Maps, "open", MemoryMaps)
    monkeypatch.setattr(canary, "run_canary", lambda _: CanaryReport(results))
    assert main(["doctor", "--json"]) == (0 if enforcing else 4)
    found = json.loads(capsys.readouterr().out)
    assert found["enforcing"] is enforcing
    assert problem in found["problem"]
    assert found["canary"] == results


def test_doctor_names_what_is_exempt_also_without_an_agent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from enforcer import maps
    from enforcer.exemptions import Exemptions
    from tests.unit.enforcer.tables import MemoryMaps

    held: Any = MemoryMaps()
    monkeypatch.setattr(maps.Maps, "open", lambda: held)
    exemptions = Exemptions(held)
    exemptions.begin(exemptions.prepare(7, "/rl.slice/a\n", 60, "why", 0))
    main(["doctor"])
    assert "EXEMPT:    /rl.slice/a\\n until 2" in capsys.readouterr().out
    main(["doctor", "--json"])
    [row] = json.loads(capsys.readouterr().out)["exempt"]
    assert (row["workload"], row["workload_id"], row["reason"]) == ("/rl.slice/a\n", 7, "why")


SAID = {"enforcing": True, "problem": "", "enforcing_since": 1000.5, "canary_at": 2000.0}


def test_doctor_says_what_the_agents_canary_has_shown(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    start_agent("admin", status=lambda _: {"pid": 4242, **SAID})
    main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["reported"] == SAID
    # What doctor tries itself is the truth, whatever the agent said before.
    assert found["enforcing"] is False
    main(["doctor"])
    since, last = local_time(1000.5), local_time(2000)
    output = capsys.readouterr().out
    assert f"reported:  enforcing; since {since}, last canary {last}\n" in output


def test_doctor_says_without_an_agent_what_was_kept(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    assert "reported:  NOT enforcing: no programs are loaded" in capsys.readouterr().out


def test_doctor_knows_of_no_canary_where_only_root_can_see(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["doctor"]) == 4
    output = capsys.readouterr().out
    assert "reported:  unknown\nenforcing: NO: only root can see" in output


def test_doctor_names_the_agent_that_answers(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    start_agent("admin", status=lambda _: {"pid": 4242})
    main(["doctor"])
    assert "agent:     running, pid 4242" in capsys.readouterr().out


def test_doctor_goes_on_where_the_agent_refuses(
    start_agent: StartAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it does for a process of a workload."""

    def refuse(_: object) -> dict[str, object]:
        raise RequestError("not_allowed", "a process of a workload may not administer it")

    start_agent("admin", status=refuse)
    assert main(["doctor"]) == 4
    assert "enforcing: NO" in capsys.readouterr().out


def test_down_without_an_agent_says_that_policies_stay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["down"]) == 0
    errors = capsys.readouterr().err
    assert "stopped: nothing was running" in errors
    assert "policies stay in force" in errors


HOLDER = """\
import fcntl, os, signal, sys
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
os.write(lock, f"{os.getpid()}\\n".encode())
print("held", flush=True)
signal.pause()
"""


def test_down_ends_the_agent_that_holds_the_lock(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (node / "run").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(node / "run/agent.pid")], stdout=subprocess.PIPE
    ) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()
        assert main(["down"]) == 0
        assert agent.wait(10) == -15
    assert "stopped: agent;" in capsys.readouterr().err


def test_a_number_that_nobody_holds_is_never_signalled(node: Path) -> None:
    (node / "run").mkdir()
    (node / "run/agent.pid").write_text(f"{os.getpid()}\n")
    assert daemons.agent().running() is None
    assert main(["down"]) == 0


def test_a_lock_without_a_number_yet_is_no_agent_to_signal(node: Path) -> None:
    (node / "run").mkdir()
    with open(node / "run/agent.pid", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert daemons.agent().running() is None


def test_unload_removes_every_pin_and_says_so(
    node: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_cgroups = node / "cgroup"
    tmp_cgroups.mkdir()
    monkeypatch.setattr(cgroups, "ROOT", tmp_cgroups)
    (node / "pins/set-3/cgroups/77").mkdir(parents=True)
    (node / "pins/set-3/exec_bprm_check").touch()
    (node / "pins/tags").touch()
    canary_state.keep(CanaryReport(DENIED))
    (tmp_cgroups / "lictor-canary").mkdir()
    assert main(["unload"]) == 0
    assert not (node / "pins").exists()
    assert not paths.CANARY_STATE.exists()
    assert list(tmp_cgroups.iterdir()) == []
    assert "UNLOADED: nothing is enforced on this node" in capsys.readouterr().err
    assert main(["unload"]) == 0
    assert "nothing was loaded" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "down", "unload"])
def test_only_root_may(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit) as caught:
        main([command])
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"lictor: {command} needs root\n"


def test_up_on_a_machine_that_cannot_says_so(
    node: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failed(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[-1] == "enforcer.loader"
        return subprocess.CompletedProcess(command, 2)

    monkeypatch.setattr(subprocess, "run", failed)
    assert main(["up"]) == 4
    assert "not loaded; see lictor doctor" in capsys.readouterr().err
