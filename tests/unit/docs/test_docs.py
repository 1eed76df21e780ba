# SPDX-License-Identifier: Apache-2.0
"""The pages say what the code does: links, settings, commands, exit codes, policy examples."""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.contract.policy import parse_policy
from controlplane.settings import ControlPlaneSettings
from enforcer import cgroups
from enforcer.cli import api, exits
from enforcer.cli.main import COMMANDS, build_parser, main
from enforcer.client import EnforcerClient
from enforcer.settings import AgentSettings, UplinkSettings

REPOSITORY = Path(__file__).parents[3]
PAGES = [
    "README.md",
    "CHANGELOG.md",
    *sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")),
]
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
FOLDER = r"(?:bpf|controlplane|docs|enforcer|policies|tests)"
NAMED_PATH = re.compile(rf"`({FOLDER}/[\w./-]*[\w/])`")
SETTINGS = {
    f"{model.model_config['env_prefix']}{name.upper()}": field
    for model in (AgentSettings, UplinkSettings, ControlPlaneSettings)
    for name, field in model.model_fields.items()
}
COMMON_OPTIONS = {"-h", "--help", "-f", "--api", "--token-file", "--ca-file"}
MAKE_TARGETS = ("demo", "test", "vm", "bench", "install")


def page(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """The text below a heading of level 2."""
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"no heading '## {heading}'"
    return found.group(1)


def anchors(text: str) -> set[str]:
    """Names that a link may give after `#`, made from headings as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("name", PAGES)
def test_a_link_leads_somewhere(name: str) -> None:
    for target in LINK.findall(page(name)):
        if re.match(r"https?:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (REPOSITORY / name).parent / file if file else REPOSITORY / name
        assert path.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{name}: {target}"


@pytest.mark.parametrize("name", PAGES)
def test_a_path_of_the_repository_exists(name: str) -> None:
    missing = [path for path in NAMED_PATH.findall(page(name)) if not (REPOSITORY / path).exists()]
    assert missing == []


@pytest.mark.parametrize("name", PAGES)
def test_a_policy_example_is_valid(name: str) -> None:
    for example in re.findall(r"```yaml\n(.*?)```", page(name), re.DOTALL):
        parse_policy(example, name)


def test_readme_names_every_page() -> None:
    assert set(PAGES) - {"README.md"} <= set(LINK.findall(page("README.md")))


@pytest.mark.parametrize("target", MAKE_TARGETS)
def test_readme_names_a_make_target_that_exists(target: str) -> None:
    assert re.search(rf"\bmake {target}\b", page("README.md"))
    assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


def test_the_settings_page_lists_what_there_is() -> None:
    listed = re.findall(r"^\| `(LICTOR_\w+)` \|", page("docs/settings.md"), re.MULTILINE)
    read = page("enforcer/paths.py") + page("enforcer/cli/api.py")
    variables = set(re.findall(r'"(LICTOR_\w+)"', read))
    assert sorted(listed) == sorted(SETTINGS.keys() | variables)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_setting_has_its_default_on_the_page(name: str) -> None:
    row = rf"^\| `{name}` \| `?(.*?)`?(?: \(.*?\))? \|"
    [default] = re.findall(row, page("docs/settings.md"), re.MULTILINE)
    field = SETTINGS[name]
    value = "none" if field.default is None else field.default
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    assert default == ("the host's name" if field.default_factory else shown)


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from (text for text in action.option_strings if text not in COMMON_OPTIONS)


def test_options_of_all_that_asks_the_control_plane_are_on_the_page() -> None:
    parser = argparse.ArgumentParser()
    api.add_api_arguments(parser)
    given = {text for action in parser._actions for text in action.option_strings}
    assert given | {"-f"} == COMMON_OPTIONS
    text = section(page("docs/cli.md"), "Which control plane")
    assert [option for option in given - {"-h", "--help"} if option not in text] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_on_the_page_with_its_arguments(name: str) -> None:
    text = section(page("docs/cli.md"), name)
    command = subcommands(build_parser([name]))[name]
    assert f"lictor {name}" in text
    for action, parser in subcommands(command).items():
        assert f"lictor {name} {action}" in text
        assert [option for option in options(parser) if option not in text] == []
    assert [option for option in options(command) if option not in text] == []


def test_the_page_has_no_command_that_does_not_exist() -> None:
    headings = re.findall(r"^## (\S+)$", page("docs/cli.md"), re.MULTILINE)
    assert headings == list(COMMANDS)


def test_every_exit_code_is_explained() -> None:
    table = section(page("docs/cli.md"), "Exit codes")
    listed = re.findall(r"^\| (\d+) \|", table, re.MULTILINE)
    named = {name: value for name, value in vars(exits).items() if name.startswith("EXIT_")}
    known = {value for value in named.values() if isinstance(value, int)}
    assert {int(code) for code in listed} == known | {0, 130}


def test_the_counts_of_workloads_are_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = section(page("docs/cli.md"), "workloads")
    status: dict[str, object] = defaultdict(lambda: 0)
    row: dict[str, object] = defaultdict(lambda: 0, {"path": "/a", "policy": "rl"})
    status |= {"node": "n", "workloads": [row]}
    monkeypatch.setattr(cgroups, "ROOT", Path("/absent"))
    monkeypatch.setattr(EnforcerClient, "__init__", lambda *_: None)
    monkeypatch.setattr(EnforcerClient, "request", lambda *_: status)
    monkeypatch.setattr(EnforcerClient, "close", lambda _: None)
    assert main(["workloads", "--node-only"]) == 0
    header = capsys.readouterr().out.splitlines()[0]
    assert main(["workloads", "--node-only", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    [workload], [node] = found["workloads"], found["nodes"]
    assert re.findall(r"^\| `([A-Z]+)` \|", text, re.MULTILINE) == header.split()
    assert re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE) == [*found, *node]
    named = [*workload, *workload["workload"]]
    assert [name for name in named if f"`{name}`" not in text] == []
