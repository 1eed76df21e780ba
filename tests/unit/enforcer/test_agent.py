# SPDX-License-Identifier: Apache-2.0
"""The agent serves, stops and starts again without losing a call; it never holds LLVM."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.contract.wire import RequestError
from enforcer import paths
from enforcer.abi import TagFlag
from enforcer.canary_state import CanaryReport
from enforcer.client import EnforcerClient
from enforcer.store import PolicyStore
from tests.unit.enforcer.served_agent import ME, ServedAgent
from tests.unit.enforcer.tables import tagged
from tests.unit.enforcer.test_store import save


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedAgent]:
    made = ServedAgent(tmp_path, monkeypatch)
    yield made
    made.close()


async def until(condition: object) -> None:
    for _ in range(500):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not come about")


def test_a_call_is_begun_and_ended_over_the_socket(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        node.tasks.by_tid[ME] = tagged(ME, grants=3)
        begun = await node.ask(paths.CALLS_SOCKET, "begin", id="c-1", thread=ME, episode="e")
        held = node.maps.thread_calls.get(ME)
        assert held is not None
        assert (held.call, begun["episode"]) == (begun["call"], "e")
        await node.ask(paths.CALLS_SOCKET, "end", call=begun["call"])
        assert node.maps.thread_calls.get(ME) is None

    node.serve(work)


def test_a_held_call_ends_with_its_connection(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        node.tasks.by_tid[ME] = tagged(ME)
        child = await asyncio.create_subprocess_exec("sleep", "60")
        node.tasks.by_tid[child.pid] = tagged(child.pid)
        client = await asyncio.to_thread(EnforcerClient, paths.CALLS_SOCKET)
        await asyncio.to_thread(client.request, "begin", id="c", target=child.pid, hold=True)
        assert node.tasks.by_tid[child.pid].flags == TagFlag(0)
        client.close()
        await until(lambda: node.tasks.by_tid[child.pid].flags == TagFlag.AFTER)
        child.kill()
        await child.wait()

    node.serve(work)


def test_a_call_outlives_its_agent(node: ServedAgent) -> None:
    numbers: list[int] = []

    async def first(node: ServedAgent) -> None:
        node.tasks.by_tid[ME] = tagged(ME)
        client = await asyncio.to_thread(EnforcerClient, paths.CALLS_SOCKET)
        reply = await asyncio.to_thread(client.request, "begin", id="c", thread=ME, hold=True)
        numbers.append(reply["call"])
        node.agent.stopping.set()
        await asyncio.sleep(0.2)
        client.close()

    async def second(node: ServedAgent) -> None:
        call = node.agent.book.get(numbers[0])
        assert call is not None
        assert (call.id, call.ended) == ("c", None)
        assert (await node.ask(paths.CALLS_SOCKET, "end", call=numbers[0]))["call"] == numbers[0]

    node.serve(first)
    node.serve(second)


@pytest.mark.parametrize("number", [None, "1", 1.5, [1]])
def test_an_end_without_a_number_is_refused(number: object, node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        with pytest.raises(RequestError, match=r"end: call: .* is not a number"):
            await node.ask(paths.CALLS_SOCKET, "end", call=number)

    node.serve(work)


def test_who_is_in_no_workload_is_said_to_those_who_are_in_none(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        before = time.clock_gettime(time.CLOCK_BOOTTIME) - 1
        child = await asyncio.create_subprocess_exec("sleep", "100")
        now = time.clock_gettime(time.CLOCK_BOOTTIME) + 1
        assert (await node.ask(paths.CALLS_SOCKET, "outside", pid=child.pid, since=now))[
            "outside"
        ] is True
        # The pid of whoever connected before is this one's by now.
        later = await node.ask(paths.CALLS_SOCKET, "outside", pid=child.pid, since=before)
        assert later["outside"] is False
        node.tasks.by_tid[child.pid] = tagged(child.pid)
        assert (await node.ask(paths.CALLS_SOCKET, "outside", pid=child.pid, since=now))[
            "outside"
        ] is False
        child.kill()
        await child.wait()
        del node.tasks.by_tid[child.pid]
        # Gone: nobody knows where it was.
        assert (await node.ask(paths.CALLS_SOCKET, "outside", pid=child.pid, since=now))[
            "outside"
        ] is False
        with pytest.raises(RequestError, match="outside: pid: 'me' is not a process id"):
            await node.ask(paths.CALLS_SOCKET, "outside", pid="me", since=now)
        node.tasks.by_tid[ME] = tagged(ME)
        with pytest.raises(RequestError, match="a process of a workload may not ask"):
            await node.ask(paths.CALLS_SOCKET, "outside", pid=1, since=now)

    node.serve(work)


def test_every_one_may_announce_and_only_root_administer(node: ServedAgent) -> None:
    async def work(node: ServedAgent) -> None:
        modes = [path.stat().st_mode & 0o777 for path in (paths.CALLS_SOCKET, paths.ADMIN_SOCKET)]
        assert modes == [0o666, 0o600]

    node.serve(work)


def test_a_fault_of_one_part_does_not_end_the_agent(
    node: ServedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    async def work(node: ServedAgent) -> None:
        def full() -> None:
            calls.append("refresh")
            raise OSError(28, "No space left on device", "map scopes: update")

        full.__name__ = "refresh"
        monkeypatch.setattr(node.agent.enforcement, "refresh", full)
        monkeypatch.setattr(node.agent.runs, "sweep", lambda: calls.append("sweep"))
        await until(lambda: calls.count("sweep") > 1)
        assert (await node.admin("status"))["pid"] == ME

    node.serve(work)
    assert calls[:2] == ["refresh", "sweep"]


def test_a_damaged_policy_does_not_keep_the_agent_from_starting(
    node: ServedAgent, tmp_path: Path
) -> None:
    store = PolicyStore(tmp_path / "state/policies")
    save(store)
    (tmp_path / "state/policies/rl-sandbox/1.json").write_text("{")

    async def work(node: ServedAgent) -> None:
        assert (await node.admin("status"))["policies"] == ["rl-sandbox"]
        with pytest.raises(RequestError, match=r"rl-sandbox/1\.json: damaged"):
            await node.admin("policy.list")

    node.serve(work)


def test_a_canary_that_is_not_denied_is_in_the_status_within_a_period(node: ServedAgent) -> None:
    report = {"mode": "lsm", "time": 1.0, "enforcing": True, "program_set": 1}
    paths.write_atomically(paths.LOADER_REPORT, json.dumps(report))
    denied = node.canary

    async def enforcing(wanted: bool) -> dict[str, Any]:
        for _ in range(500):
            status = await node.admin("status")
            if status["enforcing"] is wanted:
                return status
            await asyncio.sleep(0.01)
        raise AssertionError("did not come about")

    async def work(node: ServedAgent) -> None:
        status = await enforcing(True)
        assert status["enforcing_since"] <= status["canary_at"]
        node.canary = CanaryReport({**denied.results, "exec": "started"})
        status = await enforcing(False)
        assert status["problem"] == "the canary was not denied: {'exec': 'started'}"
        assert (await node.admin("status"))["enforcing_since"] == status["enforcing_since"]
        node.canary = denied
        assert (await enforcing(True))["enforcing_since"] > status["enforcing_since"]

    node.serve(work, canary_seconds=0.1)


# --- the process ------------------------------------------------------------

MAIN = """\
import pathlib, sys
from enforcer import maps
maps.PIN_ROOT = pathlib.Path(sys.argv[1])
from enforcer.agent import main
sys.exit(main())
"""


def started(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The agent on a node where nothing is loaded."""
    own = {"LICTOR_RUN": str(folder / "run"), "LICTOR_STATE": str(folder / "state")}
    return subprocess.run(
        [sys.executable, "-c", MAIN, str(folder / "bpf")],
        env={**os.environ, **own, **environment},
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


def test_a_node_that_is_not_loaded_is_status_3(tmp_path: Path) -> None:
    ended = started(tmp_path)
    assert ended.returncode == 3
    assert "Lictor is not loaded (lictor up)" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755


def test_a_second_agent_is_status_4(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run/agent.pid", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = started(tmp_path)
    assert ended.returncode == 4
    assert "another agent runs" in ended.stderr


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("LICTOR_SPOOL_BYTES", "much", "lictor: setting LICTOR_SPOOL_BYTES: 'much': "),
        ("LICTOR_CANARY_SECONDS", "4", "lictor: setting LICTOR_CANARY_SECONDS: '4': "),
        ("LICTOR_LOG_LEVEL", "LOUD", "lictor: setting LICTOR_LOG_LEVEL: 'LOUD': "),
    ],
)
def test_a_faulty_setting_is_status_2_and_named(
    name: str, value: str, text: str, tmp_path: Path
) -> None:
    ended = started(tmp_path, **{name: value})
    assert ended.returncode == 2
    assert ended.stderr.startswith(text)
    assert "Traceback" not in ended.stderr


def test_the_agent_imports_neither_bcc_nor_the_loader() -> None:
    code = "import sys, enforcer.agent; print(*sys.modules, sep='\\n')"
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"bcc", "enforcer.programs", "enforcer.loader"} & set(output) == set()
