# SPDX-License-Identifier: Apache-2.0
"""The tables say what was measured, and docs/benchmarks.md takes them up."""

from __future__ import annotations

import pytest

from tests.bench import run, table
from tests.unit.bench.samples import boot, native


def cells(text: str, title: str) -> list[str]:
    """The cells of a row."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_shows_what_each_state_adds() -> None:
    raw = boot(outside={"exec": 12}, inside={"exec": 8500, "exec_denied": -400})
    shown = cells(table.hook_table(raw["counts"]), "vfork, exec, wait")
    assert shown == ["vfork, exec, wait", "1,000", "+0", "+12", "+0", "+8,500", "600"]


def test_what_is_never_denied_has_no_denied_figure() -> None:
    assert cells(table.hook_table(boot()["counts"]), "fork, wait")[-1] == ""


def test_what_is_never_allowed_has_no_allowed_figure() -> None:
    assert cells(table.hook_table(boot()["counts"]), "open a GPU's node")[-2:] == ["", "1,000"]


def test_a_number_that_is_missed_stands_out() -> None:
    shown = table.findings_table(boot(inside={"fork": 6001}))
    title = "fork and wait, inside (instructions added)"
    assert cells(shown, title) == [title, "6,000", "6,001", "**no**"]


def test_a_section_says_how_far_a_second_run_agreed() -> None:
    raw = boot()
    assert "the same median in 128 of 128 cases.\n" in table.section(raw)
    raw["counts"]["none"]["inside"]["fork"]["again"] = 990
    shown = table.section(raw)
    assert "128 cases. It differed most, by 10 instructions (1.0 %), in: fork, none, in" in shown


def test_a_put_shows_which_process_takes_what() -> None:
    shown = table.put_table(boot()["stack"]["puts"])
    title = "50 in force, 3 PUTs"
    assert cells(shown, title) == [title, "90.0", "90.0", "18.0", "18.0", "18.0", "18.0"]


def test_memory_of_every_process_is_shown() -> None:
    shown = table.section(boot())
    for title in (
        "agent, alone, after its start",
        "agent, after 50,000 events",
        "uplink, whole node idle",
        "control plane, whole node idle",
    ):
        assert cells(shown, title) == [title, "40,000", "30,000", "9,000", "1,000"]


def test_what_needs_no_vm_has_a_section() -> None:
    shown = table.native_section(native())
    assert "Ingest: 20,000 events for each CPU second of its process.\n" in shown
    title = "50 in force, 1 PUTs"
    assert cells(shown, title) == [title, "31.2", "31.2"]
    title = "control plane, after 50,000 events"
    assert cells(shown, title)[1] == "40,000"


def test_figures_are_replaced_between_the_markers() -> None:
    text = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    once = table.replace_figures(text, "new")
    assert once == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"
    assert table.replace_figures(once, "new") == once


@pytest.mark.parametrize("text", ["nothing", f"only {table.BEGIN}", f"only {table.END}"])
def test_a_document_without_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="are not there"):
        table.replace_figures(text, "new")


def test_the_document_has_the_markers() -> None:
    assert table.replace_figures(run.DOCUMENT.read_text(), "new")


def test_the_readme_has_its_markers() -> None:
    assert table.replace_figures(run.README.read_text(), "new", table.README_MARKERS)
