# SPDX-License-Identifier: Apache-2.0
"""Tests that ran inside a VM, as pytest's JUnit file tells of them."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One test: `problem` is empty where it passed."""

    name: str
    problem: str


def case_name(node: str) -> str:
    """A pytest node id as the JUnit file has it: tests/a.py::T::t[x] is tests.a.T::t[x]."""
    path, _, rest = node.partition("::")
    head, bracket, parameters = rest.partition("[")
    *classes, function = head.split("::")
    parts = [path.removesuffix(".py").replace("/", "."), *classes]
    return f"{'.'.join(parts)}::{function}{bracket}{parameters}"


def parse(text: str) -> dict[str, Case]:
    """Cases by name. A skipped test is a problem: on this matrix each can run."""
    cases: dict[str, Case] = {}
    for element in ET.fromstring(text).iter("testcase"):
        name = f"{element.get('classname', '')}::{element.get('name', '')}"
        problems = [
            f"{kind}: {found.get('message', '')}\n{found.text or ''}"
            for kind in ("failure", "error", "skipped")
            for found in element.findall(kind)
        ]
        # A test and its teardown may each have an entry.
        earlier = cases[name].problem if name in cases else ""
        cases[name] = Case(name, "\n".join(filter(None, [earlier, *problems])))
    return cases
