# SPDX-License-Identifier: Apache-2.0
"""What apt says of mirrors and packages is read as apt means it."""

import pytest

from tests.kernel.harness import apt

TARGETS = """\
http://mirror.example/debian/|bookworm
http://mirror.example/debian/|bookworm-updates
http://security.example/debian-security/|bookworm-security
https://other.example/apt/|stable
"""
CONTROL = """\
Package: linux-image-7.3.4+deb13-amd64
Version: 7.3.4-1~bpo13+1
Depends: dracut | initramfs-tools (>= 0.120), linux-base-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1)
Description: Linux 7.3.4
 Version: not a field
Size: 1900

Package: second
Version: 1
"""


def test_other_suites_come_from_the_mirror_of_the_machine_itself() -> None:
    lines = apt.parse_targets(TARGETS).sources(["trixie", "trixie-security"])
    assert [line.split("] ")[1] for line in lines] == [
        "http://mirror.example/debian/ trixie main",
        "http://security.example/debian-security/ trixie-security main",
    ]
    assert all(line.startswith("deb [signed-by=/usr/share/keyrings/") for line in lines)


@pytest.mark.parametrize("text", ["", "https://other.example/apt/|stable\n"])
def test_machine_without_debian_sources_is_told_so(text: str) -> None:
    with pytest.raises(RuntimeError, match="apt sources: no Debian release"):
        apt.parse_targets(text)


def test_first_stanza_counts() -> None:
    control = apt.parse_control(CONTROL)
    assert control["Version"] == "7.3.4-1~bpo13+1"
    assert control["Size"] == "1900"


def test_first_of_alternatives_is_the_dependency() -> None:
    names = apt.dependencies(apt.parse_control(CONTROL))
    assert names == ["dracut", "linux-base-7.3.4+deb13-amd64"]


def test_package_without_dependencies_has_none() -> None:
    assert apt.dependencies({"Package": "busybox-static"}) == []
