# SPDX-License-Identifier: Apache-2.0
"""A version prefix names one kernel, number by number."""

import pytest

from tests.kernel.harness import matrix

VERSIONS = {"6.1": "6.1.192", "6.12": "6.12.117", "7": "7.3.4"}


@pytest.mark.parametrize(
    ("text", "series"),
    [
        ("6.1", "6.1"),
        ("6.1.192", "6.1"),
        ("6.12", "6.12"),
        ("6", "6.12"),
        ("7", "7"),
        ("7.3", "7"),
    ],
)
def test_prefix_names_a_kernel(text: str, series: str) -> None:
    assert matrix.select(text, VERSIONS).series == series


@pytest.mark.parametrize("text", ["6.2", "6.1.19", "5.10", "7.1", "", "x"])
def test_unknown_prefix_lists_the_versions(text: str) -> None:
    with pytest.raises(ValueError, match=r"no such kernel; the matrix has 6\.1\.192, 6\.12\.117"):
        matrix.select(text, VERSIONS)


def test_series_is_enough_where_versions_are_not_known_yet() -> None:
    assert matrix.select("6.12", {}).series == "6.12"


@pytest.mark.parametrize(("text", "expected"), [("7.3", ["7"]), ("6", ["6.1", "6.12"]), ("8", [])])
def test_only_kernels_that_may_match_are_looked_up(text: str, expected: list[str]) -> None:
    found = [kernel.series for kernel in matrix.MATRIX if matrix.may_match(text, kernel)]
    assert found == expected
