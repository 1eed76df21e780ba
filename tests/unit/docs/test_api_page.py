# SPDX-License-Identifier: Apache-2.0
"""docs/api.md: every path with its roles, every status, every count; examples ask what there is."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from controlplane.metrics import Metrics
from controlplane.openapi import refusals_of
from controlplane.rest.route import Route
from controlplane.rest.table import ROUTES

PAGE = (Path(__file__).parents[3] / "docs/api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"\n```\n(.*?)```", PAGE, re.DOTALL)
ROLES = ("viewer", "operator", "node", "tool")


def test_every_path_is_listed_with_its_roles_and_no_other() -> None:
    rows = re.findall(r"^\| `([A-Z]+ /\S+)` \| ([a-z, ]+) \| ", PAGE, re.MULTILINE)
    roles = {
        f"{route.method} {route.path}": ", ".join(
            role for role in ROLES if route.roles is None or role in route.roles
        )
        for route in ROUTES
    }
    everybody = ", ".join(ROLES)
    assert dict(rows) == {
        name: "everybody" if listed == everybody else listed for name, listed in roles.items()
    }


def test_every_refusal_is_explained() -> None:
    table = PAGE.partition("## Refusals")[2].partition("## Metrics")[0]
    listed = {int(status) for status in re.findall(r"^\| (\d+) \| ", table, re.MULTILINE)}
    served = {int(status) for route in ROUTES for status in refusals_of(route)}
    assert listed == served | {404, 405}


def test_every_metric_is_explained() -> None:
    listed = set(re.findall(r"^\| `(lictor_\w+)` \| ", PAGE, re.MULTILINE))
    families = Metrics().registry.collect()
    exported = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert listed == exported


def served(method: str, path: str) -> list[Route]:
    return [
        route
        for route in ROUTES
        if route.method == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route.path), path)
    ]


@pytest.mark.parametrize(
    "command",
    [
        command
        for example in EXAMPLES
        for command in re.split(r"\n(?=curl|api )|\|\n", example.replace("\\\n", ""))
        if "http" in command and "job_name" not in command
    ],
)
def test_an_example_asks_for_what_there_is(command: str) -> None:
    [url] = re.findall(r"https?://[^\s']+", command)
    given = re.search(r"-X (\w+)", command)
    method = given[1] if given else "PUT" if " -T " in command else "GET"
    parts = urlsplit(url)
    [route] = served(method, parts.path)
    names = {pair.partition("=")[0] for pair in parts.query.split("&") if pair}
    assert names <= set(route.query.model_fields)
