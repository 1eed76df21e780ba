# SPDX-License-Identifier: Apache-2.0
"""What ran in a VM is told here test by test."""

import pytest

from tests.kernel.harness import boots, report

JUNIT = """<?xml version="1.0"?>
<testsuites><testsuite>
<testcase classname="tests.kernel.guest.test_a" name="test_good[x-1]" />
<testcase classname="tests.kernel.guest.test_a.TestB" name="test_bad">
<failure message="assert 1 == 2">trace</failure></testcase>
<testcase classname="tests.kernel.guest.test_a" name="test_left_out">
<skipped message="not here">why</skipped></testcase>
<testcase classname="tests.kernel.guest.test_a" name="test_twice" />
<testcase classname="tests.kernel.guest.test_a" name="test_twice">
<error message="failed on teardown">trace</error></testcase>
</testsuite></testsuites>
"""


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ("test_a.py::test_good[x-1]", ""),
        ("test_a.py::TestB::test_bad", "failure: assert 1 == 2\ntrace"),
        ("test_a.py::test_left_out", "skipped: not here\nwhy"),
        ("test_a.py::test_twice", "error: failed on teardown\ntrace"),
    ],
)
def test_case_is_found_by_its_node(node: str, problem: str) -> None:
    cases = report.parse(JUNIT)
    assert cases[report.case_name(f"tests/kernel/guest/{node}")].problem == problem


def test_parameters_may_hold_what_separates_names() -> None:
    assert report.case_name("tests/a.py::test_b[c::d.py]") == "tests.a::test_b[c::d.py]"


def test_every_kernel_boots_both_ways() -> None:
    assert [str(boot) for boot in boots.BOOTS] == [
        "6.1-lsm",
        "6.1-fmod_ret",
        "6.12-lsm",
        "6.12-fmod_ret",
        "7-lsm",
        "7-fmod_ret",
    ]
