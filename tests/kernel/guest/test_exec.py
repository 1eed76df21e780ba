# SPDX-License-Identifier: Apache-2.0
"""Which programs may start: by path, the most specific rule deciding, however exec is called."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.guest.attempts import programs
from tests.kernel.guest.child import Outcome, attempt
from tests.kernel.guest.conftest import Confine
from tests.kernel.guest.programs import SOURCES
from tests.kernel.guest.world import Lictor, Workload, denied, expected, facts

HOME = Path("/srv/guest-exec")
LOADER = "/lib64/ld-linux-x86-64.so.2"
STARTED = Outcome("started")
POLICY = f"""
    exec:
      allow:
        - {HOME}/open/**
        - {HOME}/closed/exception
        - {HOME}/single
        - {HOME}/closed/inner/**
      deny:
        - {HOME}/closed/**
        - {HOME}/open/exception
        - {HOME}/open/inner/**
      # Libraries are a matter of test_exec_mappings.
      mappings: any
"""


@pytest.fixture(scope="module")
def witness() -> Iterator[Path]:
    """A statically linked program; copies of it, and scripts, lie all over HOME."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    program = HOME / "witness"
    source = SOURCES / "witness.c"
    for flags, path in (("-static", program), ("-pie", HOME / "dynamic")):
        subprocess.run(["gcc", "-O1", "-Wall", "-Werror", flags, "-o", path, source], check=True)
    for name in (
        "open/program", "open/exception", "open/inner/program", "open/inner/deep/program",
        "closed/program", "closed/exception", "closed/inner/program", "single", "single-not",
        "opener", "unlisted/program",
    ):  # fmt: skip
        copy(program, HOME / name)
    copy(HOME / "dynamic", HOME / "open/dynamic")
    copy(HOME / "dynamic", HOME / "closed/dynamic")
    for name, interpreter in (
        ("good", "open/program"), ("bad", "closed/program"), ("stray", "unlisted/program"),
        ("chain", "open/good"), ("bad-chain", "open/bad"),
    ):  # fmt: skip
        script = HOME / "open" / name
        script.write_text(f"#!{HOME}/{interpreter}\n")
        script.chmod(0o755)
    (HOME / "open/link").symlink_to(HOME / "closed/program")
    (HOME / "closed/link").symlink_to(HOME / "open/program")
    os.link(HOME / "closed/program", HOME / "open/hard-link")
    shutil.copy(program, HOME / "open/not-executable")
    (HOME / "open/not-executable").chmod(0o644)
    yield program
    shutil.rmtree(HOME)


def copy(program: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(program, path)


@pytest.fixture(scope="module")
def ruled(lictor: Lictor, witness: Path) -> Iterator[Workload]:
    with lictor.confined(POLICY) as workload:
        yield workload


@dataclass(frozen=True)
class Start:
    """An attempt to start a program; `events`: path and rule or reason of each event, in order.

    The last event is the one that was denied, unless `allowed`.
    """

    action: Callable[..., str]
    arguments: tuple[Any, ...]
    events: tuple[tuple[str, str], ...]
    allowed: bool = False


OPEN, EXCEPTION, SINGLE, INNER = (f"exec.allow[{n}]" for n in range(4))
NO_CLOSED, NO_EXCEPTION, NO_INNER = (f"exec.deny[{n}]" for n in range(3))


def _starts() -> dict[str, Start]:
    start, home = programs.start, str(HOME)

    def simple(path: str, found: str, *, allowed: bool = False) -> Start:
        return Start(start, (f"{home}/{path}",), ((f"{home}/{path}", found),), allowed)

    open_program = (f"{home}/open/program", OPEN)
    closed_program = (f"{home}/closed/program", NO_CLOSED)
    return {
        "below-a-folder": simple("open/program", OPEN, allowed=True),
        "one-file": simple("single", SINGLE, allowed=True),
        "longer-name-than-one-file": simple("single-not", "not_allowed"),
        "longer-name-than-a-folder": simple("opener", "not_allowed"),
        "unlisted": simple("unlisted/program", "not_allowed"),
        "denied-folder": simple("closed/program", NO_CLOSED),
        "allowed-file-in-a-denied-folder": simple("closed/exception", EXCEPTION, allowed=True),
        "denied-file-in-an-allowed-folder": simple("open/exception", NO_EXCEPTION),
        "allowed-folder-in-a-denied-one": simple("closed/inner/program", INNER, allowed=True),
        "denied-folder-in-an-allowed-one": simple("open/inner/program", NO_INNER),
        "at-any-depth": simple("open/inner/deep/program", NO_INNER),
        # By path: who may write below an allowed folder may start what he puts there.
        "hard-link": simple("open/hard-link", OPEN, allowed=True),
        "dynamic-program-without-its-loader": simple("open/dynamic", OPEN, allowed=True),
        "dots-in-the-name": Start(
            start, (f"{home}/open/../closed/./program",), (closed_program,)
        ),
        "symbolic-link-to-denied": Start(start, (f"{home}/open/link",), (closed_program,)),
        "symbolic-link-to-allowed": Start(
            start, (f"{home}/closed/link",), (open_program,), allowed=True
        ),
        "loader-by-hand": Start(
            start, (LOADER, f"{home}/closed/dynamic"),
            ((os.path.realpath(LOADER), "not_allowed"),),
        ),
        "script": Start(
            start, (f"{home}/open/good",), ((f"{home}/open/good", OPEN), open_program),
            allowed=True,
        ),
        "script-with-a-denied-interpreter": Start(
            start, (f"{home}/open/bad",), ((f"{home}/open/bad", OPEN), closed_program)
        ),
        "script-with-an-unlisted-interpreter": Start(
            start, (f"{home}/open/stray",),
            ((f"{home}/open/stray", OPEN), (f"{home}/unlisted/program", "not_allowed")),
        ),
        "script-of-a-script": Start(
            start, (f"{home}/open/chain",),
            ((f"{home}/open/chain", OPEN), (f"{home}/open/good", OPEN), open_program),
            allowed=True,
        ),
        "script-of-a-denied-script": Start(
            start, (f"{home}/open/bad-chain",),
            ((f"{home}/open/bad-chain", OPEN), (f"{home}/open/bad", OPEN), closed_program),
        ),
        "execveat-below-a-folder": Start(
            programs.start_at, (f"{home}/closed", "program"), (closed_program,)
        ),
        "execveat-allowed": Start(
            programs.start_at, (f"{home}/open", "program"), (open_program,), allowed=True
        ),
        "descriptor": Start(
            programs.start_descriptor, (f"{home}/closed/program",), (closed_program,)
        ),
        "descriptor-allowed": Start(
            programs.start_descriptor, (f"{home}/open/program",), (open_program,), allowed=True
        ),
        "path-descriptor": Start(
            programs.start_descriptor, (f"{home}/closed/program", os.O_PATH), (closed_program,)
        ),
        "descriptor-below-proc": Start(
            programs.start_by_proc, (f"{home}/closed/program",), (closed_program,)
        ),
    }  # fmt: skip


STARTS = _starts()


@pytest.mark.parametrize("name", STARTS)
def test_start(name: str, ruled: Workload) -> None:
    case = STARTS[name]
    assert attempt(case.action, *case.arguments) == STARTED
    ruled.mark()

    outcome = ruled.run(case.action, *case.arguments)

    assert outcome == STARTED if case.allowed else denied(outcome), outcome
    wanted = []
    for place, (path, found) in enumerate(case.events, 1):
        allowed = case.allowed or place < len(case.events)
        rule = found if "." in found else None
        wanted.append(
            expected(
                ruled, "exec", "allowed" if allowed else "denied", "rule" if rule else found,
                rule=rule, path=os.fsencode(path),
            )
        )  # fmt: skip
    assert [facts(event) for event in ruled.fresh_events("exec")] == wanted


def test_copy_under_an_allowed_folder_is_another_program(ruled: Workload) -> None:
    """Rules are about paths: what a file holds, and where it came from, says nothing."""

    def copy_and_start() -> str:
        shutil.copy(HOME / "closed/program", HOME / "open/renamed")
        return programs.start(HOME / "open/renamed")

    assert attempt(copy_and_start) == STARTED
    assert ruled.run(copy_and_start) == STARTED


@pytest.mark.parametrize(
    ("path", "number"),
    [
        (HOME / "open/nothing", errno.ENOENT),
        (HOME / "closed/nothing", errno.ENOENT),
        (HOME / "open/not-executable", errno.EACCES),
        (HOME / "open", errno.EACCES),
    ],
)
def test_what_cannot_start_fails_as_everywhere(path: Path, number: int, ruled: Workload) -> None:
    ruled.mark()
    assert attempt(programs.start, path).errno == number
    assert ruled.run(programs.start, path).errno == number
    assert ruled.fresh_events() == []


@pytest.mark.parametrize(("section", "reason"), [("any", "any"), ("none", "not_allowed")])
def test_whole_section(section: str, reason: str, confine: Confine, witness: Path) -> None:
    workload = confine(f"exec: {section}")
    outcome = workload.run(programs.start, witness)
    assert outcome == STARTED if section == "any" else denied(outcome)
    assert [event["reason"] for event in workload.events()] == [reason]


def test_grant_adds_programs_and_its_exceptions_take_none_away(
    confine: Confine, witness: Path
) -> None:
    spec = f"""
        exec: {{allow: [{HOME}/open/**]}}
        grants:
          tools: {{exec: {{allow: [{HOME}/closed/**], deny: [{HOME}/open/program]}}}}
    """
    paths = [HOME / "open/program", HOME / "closed/program", HOME / "single"]
    base, granted = confine(spec), confine(spec, grants=["tools"])
    assert [base.run(programs.start, path).errno for path in paths] == [None, 1, 1]
    assert [granted.run(programs.start, path).errno for path in paths] == [None, None, 1]
    assert [event["rule"] for event in granted.events()] == [
        "exec.allow[0]", "grants.tools.exec.allow[0]", None,
    ]  # fmt: skip
