# SPDX-License-Identifier: Apache-2.0
"""The node's way to the control plane: ships events and calls, reports, brings policies.

A process of its own, so that the agent holds no HTTP client. The node enforces and records
without it. Run by `lictor up`, or as a service: python -m enforcer.uplink.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from loguru import logger

from controlplane.client import ApiClient, ApiError, ApiUnavailable
from controlplane.contract import supervision
from controlplane.contract.daemon import EXIT_FAILED, EXIT_SETTINGS, begin
from controlplane.contract.records import WorkloadReport
from controlplane.contract.wire import RequestError
from enforcer import paths
from enforcer.client import EnforcerClient
from enforcer.names import boot_identity
from enforcer.settings import UplinkSettings
from enforcer.uplink_calls import CallReader
from enforcer.uplink_link import Link
from enforcer.uplink_policies import Reconciler
from enforcer.uplink_report import covered_workloads, node_report, uncovered_containers
from enforcer.uplink_shipping import Shipper
from enforcer.uplink_spool import SpoolReader
from enforcer.uplink_state import load_state, save_state

POLL_SECONDS = 0.05
SAVE_SECONDS = 1.0
REPORT_SECONDS = 5.0
POLICY_WAIT = 30
OWN_FAULT_SECONDS = 1.0
CONTAINERS_SECONDS = 30.0


class Uplink:
    """The three things it does at once, over one client."""

    def __init__(self, settings: UplinkSettings, client: ApiClient) -> None:
        self._node = settings.node
        self._boot = boot_identity()[0]
        self._client = client
        self._link = Link(settings.controlplane)
        self._spool = SpoolReader(paths.SPOOL)
        self._calls = CallReader(paths.CALLS_DATABASE, self._node, self._boot)
        state = load_state(paths.UPLINK_STATE)
        self._shipper = Shipper(state, self._spool, self._calls, self._node, self._boot)
        self._saved, self._saved_at = state, 0.0
        self._policies = Reconciler(self._ask)
        self._workloads: list[WorkloadReport] = []
        self._containers: list[WorkloadReport] = []
        self._containers_at = float("-inf")
        self._version: int | None = None
        self.reported = asyncio.Event()
        self._problems: dict[str, str] = {}

    async def run(self) -> None:
        """Until it is cancelled; the state is on disk then."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in (self._ship, self._bring_policies, self._report):
                    tasks.create_task(self._again_and_again(work), name=work.__name__)
                tasks.create_task(supervision.say_alive(), name="say alive")
        finally:
            self._calls.close()
            self._save()

    async def _again_and_again(self, work: Callable[[], Awaitable[float]]) -> None:
        """Do `work`, wait as long as it says; after a failure pause, longer each time."""
        attempt = 0
        while True:
            try:
                wait = await work()
            except (ApiError, ApiUnavailable) as error:
                attempt += 1
                await self._link.pause(error, attempt)
                continue
            except OSError as error:
                # A file of this node; the control plane is not asked about it.
                self._tell(work.__name__, str(error))
                wait = OWN_FAULT_SECONDS
            else:
                self._tell(work.__name__, "")
            attempt = 0
            await asyncio.sleep(wait)

    def _tell(self, what: str, problem: str) -> None:
        """Log a problem of this node once, until it is another."""
        if problem and problem != self._problems.get(what):
            logger.error("uplink: {}; tried again until it works", problem)
        self._problems[what] = problem

    # --- events and calls -------------------------------------------------------

    async def _ship(self) -> float:
        sent = await self._shipper.send(self._client)
        if sent:
            self._link.works()
        # A state that lags costs no more than sending again.
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self._save()
        return 0 if sent else POLL_SECONDS

    def _save(self) -> None:
        if self._saved == self._shipper.state:
            return
        try:
            save_state(paths.UPLINK_STATE, self._shipper.state)
        except OSError as error:
            logger.error("{}: {}; a restart sends again what was sent", paths.UPLINK_STATE, error)
        self._saved, self._saved_at = self._shipper.state, time.monotonic()

    # --- policies ---------------------------------------------------------------

    async def _bring_policies(self) -> float:
        asked = time.monotonic()
        known, self._version = self._version, None
        desired = await self._client.desired_policies(
            self._node, after=known, wait=0 if known is None else POLICY_WAIT
        )
        self._link.works()
        try:
            acknowledgements = await self._policies.reconcile(desired.policies)
        except RequestError as error:
            raise OSError(f"the agent refuses to be asked: {error}") from None
        await self._client.acknowledge(self._node, self._boot, acknowledgements)
        # Only now: after a failure the answer comes at once, and everything is gone through anew.
        self._version = desired.version
        return 0 if known != desired.version else max(0, asked + 1 - time.monotonic())

    async def _ask(self, operation: str, **fields: Any) -> dict[str, Any]:
        return await asyncio.to_thread(_request, operation, fields)

    # --- reports ----------------------------------------------------------------

    async def _report(self) -> float:
        status = await self._status()
        if status is not None:
            self._workloads = covered_workloads(status["workloads"])
        if time.monotonic() - self._containers_at > CONTAINERS_SECONDS:
            self._containers = await asyncio.to_thread(uncovered_containers, self._workloads)
            self._containers_at = time.monotonic()
        state = self._shipper.state
        covered = {workload.id for workload in self._workloads}
        report = node_report(
            status,
            boot=self._boot,
            state=state,
            waiting=self._spool.waiting(state.spool),
            workloads=[
                *self._workloads,
                *(found for found in self._containers if found.id not in covered),
            ],
        )
        try:
            await self._client.report(self._node, report)
        finally:
            self.reported.set()
        self._link.works()
        return REPORT_SECONDS

    async def _status(self) -> dict[str, Any] | None:
        try:
            return await self._ask("status")
        except (OSError, RequestError):
            return None


def _request(operation: str, fields: dict[str, Any]) -> dict[str, Any]:
    with EnforcerClient(paths.ADMIN_SOCKET) as client:
        return client.request(operation, **fields)


def token_from(path: Path) -> Callable[[], str | None]:
    """What reads the token before each request: a new one in the file holds at once."""

    def read() -> str | None:
        try:
            return path.read_text(encoding="ascii").strip() or None
        except (OSError, ValueError) as error:
            raise ApiUnavailable(f"LICTOR_TOKEN_FILE: {path}: {error}") from None

    return read


async def serve(settings: UplinkSettings, client: ApiClient) -> None:
    """Run until a signal asks to stop."""
    async with client:
        uplink = Uplink(settings, client)
        supervision.settle()
        running = asyncio.create_task(uplink.run(), name="uplink")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        logger.info("uplink: node {} to {}", settings.node, settings.controlplane)
        # The control plane, if it is there, counts this node in from its first report on.
        reported = asyncio.create_task(uplink.reported.wait(), name="first report")
        await asyncio.wait({running, reported}, return_when=asyncio.FIRST_COMPLETED)
        if not reported.done():
            reported.cancel()
        elif not running.done():
            supervision.notify(supervision.READY)
        try:
            await running
        except asyncio.CancelledError:
            supervision.notify(supervision.STOPPING)


def main() -> int:
    """Entry point. Exit: 0 stopped, 1 failed, 2 wrong setting, 4 another runs."""
    settings = begin("uplink", UplinkSettings, _place)
    try:
        token = token_from(settings.token_file) if settings.token_file else None
        client = ApiClient(settings.controlplane, token=token, ca_file=settings.ca_file)
    except (OSError, ValueError) as error:
        print(f"lictor: setting LICTOR_CA_FILE: {error}", file=sys.stderr)
        return EXIT_SETTINGS
    try:
        asyncio.run(serve(settings, client))
    except (OSError, ValueError) as error:
        logger.error("uplink: {}", error)
        return EXIT_FAILED
    return 0


def _place(_settings: UplinkSettings) -> Path:
    os.umask(0o077)
    paths.STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    return paths.UPLINK_PID


if __name__ == "__main__":
    sys.exit(main())
