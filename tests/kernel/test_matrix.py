# SPDX-License-Identifier: Apache-2.0
"""Runs tests/kernel/guest in VMs, and makes of each guest test on each boot a test here."""

import sys

import pytest

from tests.kernel.harness import boots, report
from tests.kernel.harness.boots import BOOTS, Boot, Machine, Runs, machine_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "node" in metafunc.fixturenames:
        nodes = boots.collect()
        pairs = [
            pytest.param(boot, node, id=f"{boot}-{node.removeprefix(boots.GUEST_TESTS)[1:]}")
            for boot in BOOTS
            for node in nodes
            if boots.runs_on(boot, node)
        ]
        metafunc.parametrize(("boot", "node"), pairs)


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Runs:
    """VMs for the boots and guest tests that this run of pytest selected."""
    wanted: dict[Machine, list[str]] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.originalname == test_in_vm.__name__:
            parameters = item.callspec.params
            boot, node = parameters["boot"], parameters["node"]
            assert isinstance(boot, Boot)
            assert isinstance(node, str)
            wanted.setdefault(machine_of(boot, node), []).append(node)
    return Runs(wanted)


@pytest.fixture
def run(request: pytest.FixtureRequest, runs: Runs, boot: Boot, node: str) -> boots.Run:
    """The VM's run when it has ended; until then, what all VMs say is shown."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    found = runs.of(machine_of(boot, node))
    with capture.global_and_fixture_disabled():
        while not found.done.wait(0.2) or not runs.lines.empty():
            while not runs.lines.empty():
                print(runs.lines.get(), file=sys.stderr, flush=True)
    return found


def test_in_vm(boot: Boot, node: str, run: boots.Run) -> None:
    case = run.cases.get(report.case_name(node))
    if case is None:
        pytest.fail(run.problem or f"VM {boot}: {node} did not run", pytrace=False)
    if case.problem:
        pytest.fail(f"in VM {boot}: {case.problem}", pytrace=False)
