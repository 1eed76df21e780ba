# SPDX-License-Identifier: Apache-2.0
"""The uplink as a whole, against a server on a real socket and an agent that answers."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.client import ApiClient, ApiUnavailable
from controlplane.contract.daemon import EXIT_RUNNING, EXIT_SETTINGS
from controlplane.contract.wire import RequestError
from enforcer import cgroups, paths, uplink, uplink_link
from enforcer.callbook import CallBook
from enforcer.names import boot_identity
from enforcer.settings import UplinkSettings
from enforcer.spool import SpoolWriter
from enforcer.uplink import Uplink, token_from
from enforcer.uplink_state import load_state
from tests.unit.enforcer.fake_agent import FakeAgent
from tests.unit.enforcer.fake_controlplane import FakeControlPlane
from tests.unit.enforcer.test_uplink_calls import begin
from tests.unit.enforcer.test_uplink_policies import digest, revision
from tests.unit.enforcer.test_uplink_report import STATUS
from tests.unit.enforcer.test_uplink_spool import event

BOOT = boot_identity()[0]


@pytest.fixture(autouse=True)
def _node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPOOL", "CALLS_DATABASE", "UPLINK_STATE", "UPLINK_PID", "LOADER_REPORT"):
        monkeypatch.setattr(paths, name, tmp_path / getattr(paths, name).name)
    monkeypatch.setattr(paths, "ADMIN_SOCKET", tmp_path / "admin.sock")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(uplink_link, "pause_before", lambda _: 0.02)
    for name in ("OWN_FAULT_SECONDS", "REPORT_SECONDS", "SAVE_SECONDS"):
        monkeypatch.setattr(uplink, name, 0.02)


@pytest.fixture
def policies() -> dict[str, Any]:
    """What the agent has in force: name -> row."""
    return {}


@pytest.fixture
def agent(policies: dict[str, Any]) -> Iterator[FakeAgent]:
    def apply(message: dict[str, Any]) -> dict[str, Any]:
        found = revision("rl", message["revision"])
        if message["text"] != found.text:
            raise RequestError("invalid_policy", "line 1: is odd")
        row = {"name": "rl", "revision": found.revision, "digest": digest(found)}
        policies["rl"] = row
        return {"policy": row, "workloads": 0, "warnings": []}

    made = FakeAgent(
        paths.ADMIN_SOCKET,
        status=lambda _: STATUS,
        policy_list=lambda _: {"policies": list(policies.values())},
        policy_apply=apply,
        policy_remove=lambda message: {"name": policies.pop(message["name"])["name"]},
    )
    yield made
    made.close()


def write(*numbers: int) -> None:
    writer = SpoolWriter(paths.SPOOL, 0)
    writer.append([event(number, boot=BOOT) for number in numbers])
    writer.close()


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not come about")


def connected(
    folder: Path, work: Callable[[FakeControlPlane], Awaitable[None]], *, served: bool = True
) -> None:
    """Do `work` while an uplink runs; the control plane is there from the start if `served`."""

    async def whole() -> None:
        far = FakeControlPlane(folder / "api.sock")
        if served:
            await far.start()
        settings = UplinkSettings(node="node-1", controlplane=far.address)
        async with ApiClient(settings.controlplane) as client:
            running = asyncio.create_task(Uplink(settings, client).run())
            try:
                await asyncio.wait_for(work(far), 20)
                assert not running.done(), running.exception()
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await far.stop()

    asyncio.run(whole())


def test_events_and_calls_arrive_and_the_state_is_kept(tmp_path: Path, agent: FakeAgent) -> None:
    book = CallBook(paths.CALLS_DATABASE)
    number = begin(book, "c-1")
    write(1, 2)

    async def work(far: FakeControlPlane) -> None:
        await until(lambda: far.sequences() == [1, 2])
        write(3)
        book.close_call(number, "ended")
        await until(lambda: far.sequences() == [1, 2, 3])
        await until(lambda: far.calls[number]["ended"] is not None)
        await until(lambda: load_state(paths.UPLINK_STATE).spool.position == 3)

    connected(tmp_path, work)
    book.close()

    async def nothing(far: FakeControlPlane) -> None:
        await until(lambda: len(far.reports) > 3)
        assert far.batches == []

    connected(tmp_path, nothing)


def test_what_came_while_the_control_plane_was_away_arrives_in_order(
    tmp_path: Path, agent: FakeAgent
) -> None:
    write(*range(1500))

    async def work(far: FakeControlPlane) -> None:
        await asyncio.sleep(0.1)
        write(*range(1500, 1600))
        await far.start()
        await until(lambda: far.sequences() == list(range(1600)))
        await far.stop()
        write(1600)
        await asyncio.sleep(0.1)
        await far.start()
        await until(lambda: far.sequences() == list(range(1601)))

    connected(tmp_path, work, served=False)


def test_a_desired_policy_is_applied_and_acknowledged(
    tmp_path: Path, agent: FakeAgent, policies: dict[str, Any]
) -> None:
    async def work(far: FakeControlPlane) -> None:
        await until(lambda: far.reports)
        await far.put(revision("rl", 3))
        await until(lambda: far.acknowledged)
        assert far.acknowledged["rl"] == {
            "policy": "rl", "revision": 3, "state": "acked", "message": "",
        }  # fmt: skip
        assert policies["rl"]["revision"] == 3
        await far.put(revision("rl", 4, mode="audit"))
        await until(lambda: far.acknowledged["rl"]["state"] == "failed")
        assert far.acknowledged["rl"]["message"] == "line 1: is odd"

    connected(tmp_path, work)


def test_a_change_on_the_node_is_changed_back(
    tmp_path: Path, agent: FakeAgent, policies: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink, "POLICY_WAIT", 1)

    async def work(far: FakeControlPlane) -> None:
        await far.put(revision("rl", 3))
        await until(lambda: policies)
        policies.clear()
        await until(lambda: policies)

    connected(tmp_path, work)


def test_policies_wait_for_an_agent_that_is_away(tmp_path: Path) -> None:
    async def work(far: FakeControlPlane) -> None:
        await far.put(revision("rl", 3))
        await until(lambda: len(far.reports) > 3)
        assert far.acknowledged == {}
        assert "no agent answers" in far.reports[-1]["problem"]

    connected(tmp_path, work)


def test_a_report_says_how_the_node_is(tmp_path: Path, agent: FakeAgent) -> None:
    write(1)

    async def work(far: FakeControlPlane) -> None:
        await until(lambda: far.reports and far.reports[-1]["spool_waiting_bytes"] == 0)
        found = far.reports[-1]
        assert (found["boot"], found["enforcing"], found["policies"]) == (
            BOOT, True, {"rl": 2, "gone": 5},
        )  # fmt: skip
        assert [workload["path"] for workload in found["workloads"]] == ["/rl.slice/job"]

    connected(tmp_path, work)


def test_a_spool_that_cannot_be_read_does_not_end_the_uplink(
    tmp_path: Path, agent: FakeAgent
) -> None:
    paths.CALLS_DATABASE.write_text("damaged" * 1000)

    async def work(far: FakeControlPlane) -> None:
        await until(lambda: len(far.reports) > 3)
        paths.CALLS_DATABASE.unlink()
        write(1)
        await until(lambda: far.sequences() == [1])

    connected(tmp_path, work)


def test_a_token_is_read_anew_for_each_request(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = token_from(path)
    with pytest.raises(ApiUnavailable, match=r"LICTOR_TOKEN_FILE: .*token: .*No such file"):
        token()
    path.write_text("one\n")
    assert token() == "one"
    path.write_text("two")
    assert token() == "two"


def _program(tmp_path: Path, **environment: str) -> subprocess.Popen[str]:
    known = {"LICTOR_STATE": str(tmp_path / "state"), "LICTOR_RUN": str(tmp_path / "run")}
    return subprocess.Popen(
        [sys.executable, "-m", "enforcer.uplink"],
        env={**os.environ, **known, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def _ended(program: subprocess.Popen[str]) -> tuple[int, str]:
    _, text = program.communicate(timeout=30)
    return program.returncode, text


def test_a_signal_ends_it(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/absent.sock"
    program = _program(tmp_path, LICTOR_CONTROLPLANE=address)
    assert program.stderr is not None
    lines = [program.stderr.readline()]
    while "No such file" not in lines[-1]:
        lines.append(program.stderr.readline())
    assert f"to {address}" in lines[0]
    program.send_signal(signal.SIGTERM)
    assert _ended(program)[0] == 0


@pytest.mark.parametrize(
    ("name", "value", "code", "text"),
    [
        ("LICTOR_CONTROLPLANE", "http://10.0.0.1", EXIT_SETTINGS, "use https"),
        ("LICTOR_CA_FILE", "/absent.pem", EXIT_SETTINGS, "/absent.pem"),
    ],
)
def test_a_wrong_setting_is_named(
    name: str, value: str, code: int, text: str, tmp_path: Path
) -> None:
    environment = {"LICTOR_CONTROLPLANE": "https://localhost:1", name: value}
    found, said = _ended(_program(tmp_path, **environment))
    assert (found, said.count("\n")) == (code, 1)
    assert name in said
    assert text in said


def test_a_second_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with open(tmp_path / "state/uplink.pid", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, text = _ended(_program(tmp_path))
    assert code == EXIT_RUNNING
    assert "another uplink runs" in text


def test_the_agent_needs_no_http_client() -> None:
    program = (
        "import sys, enforcer.agent;"
        " print({'aiohttp', 'sqlalchemy', 'controlplane.client'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
