# SPDX-License-Identifier: Apache-2.0
"""The figures as Markdown tables, for a terminal and for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.targets import Counts, Repetition, added, findings

BEGIN = "<!-- figures: begin (written by make bench; do not edit) -->"
END = "<!-- figures: end -->"
README_MARKERS = ("<!-- bench:begin -->", "<!-- bench:end -->")


@dataclass(frozen=True)
class Attempt:
    """A row: hookbench's kind that the policy allows, and the one that it denies."""

    title: str
    allowed: str = ""
    denied: str = ""

    @property
    def kind(self) -> str:
        """What stands for the row where nothing is denied."""
        return self.allowed or self.denied


ATTEMPTS = (
    Attempt("connect, UDP", "connect_udp", "connect_udp_denied"),
    Attempt("connect, TCP over loopback", "connect_tcp", "connect_tcp_denied"),
    Attempt("sendto, UDP, unconnected", "sendto", "sendto_denied"),
    Attempt("send, TCP, established", "send_tcp"),
    Attempt("send, UDP, connected", "send_udp"),
    Attempt("vfork, exec, wait", "exec", "exec_denied"),
    Attempt("fork, wait", "fork"),
    Attempt("open a regular file", "open_file"),
    Attempt("open /dev/null", "open_null"),
    Attempt("open a GPU's node", denied="open_gpu_denied"),
    Attempt("socket, TCP", "socket_inet"),
    Attempt("socket, AF_UNIX", "socket_unix"),
    Attempt("socket, raw", denied="socket_raw_denied"),
)
COLUMNS = (
    "median guest instructions",
    "nothing loaded",
    "empty programs, outside",
    "Lictor, outside",
    "empty programs, inside",
    "Lictor, inside, allowed",
    "Lictor, inside, denied (whole call)",
)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def hook_table(counts: Counts) -> str:
    """What each attempt takes, and what each state adds to it."""
    return markdown(COLUMNS, (_row(counts, attempt) for attempt in ATTEMPTS))


def _row(counts: Counts, attempt: Attempt) -> list[str]:
    def more(state: str, place: str) -> str:
        return f"{added(counts, state, place, attempt.kind):+,}"

    return [
        attempt.title,
        f"{counts['none']['outside'][attempt.kind]['median']:,}",
        more("floor", "outside"),
        more("lictor", "outside"),
        more("floor", "inside"),
        more("lictor", "inside") if attempt.allowed else "",
        f"{counts['lictor']['inside'][attempt.denied]['median']:,}" if attempt.denied else "",
    ]


def findings_table(raw: dict[str, Any]) -> str:
    """The design's numbers and whether they hold."""
    return markdown(
        ("the design's number", "limit", "measured", "holds"),
        (
            [
                f"{found.what} ({found.unit})",
                f"{found.limit:,}",
                f"{found.measured:,}",
                "yes" if found.holds else "**no**",
            ]
            for found in findings(raw)
        ),
    )


def memory_table(agent: dict[str, Any]) -> str:
    """The agent's resident memory by kind."""
    fields = list(agent["start"])
    return markdown(
        ("agent's memory, KiB", *fields),
        (
            [title, *(f"{agent[key][name]:,}" for name in fields)]
            for title, key in (
                ("after its start", "start"),
                (f"after {agent['events']:,} events", "after_events"),
            )
        ),
    )


def program_table(rows: list[dict[str, Any]]) -> str:
    """How big the kernel programs are."""
    return markdown(
        ("kernel program", "instructions", "bytes of machine code"),
        (
            [f"`{row['program']}`", f"{row['instructions']:,}", f"{row['machine_code_bytes']:,}"]
            for row in rows
        ),
    )


def section(raw: dict[str, Any]) -> str:
    """Everything about one boot."""
    counts = raw["counts"]
    again = Repetition.of(counts)
    repeated = (
        f"A second run in each state gave the same median in {again.same} of {again.cases} cases."
    )
    if again.worst_difference:
        repeated += (
            f" It differed most, by {again.worst_difference:,} instructions"
            f" ({again.worst_percent} %), in: {again.worst}."
        )
    loader, agent = raw["loader"], raw["agent"]
    processes = (
        f"Loader, first load: {loader['instructions'] / 1e6:,.0f} million instructions, of them"
        f" {loader['in_kernel'] / 1e6:,.0f} in the kernel; at most"
        f" {loader['peak_kib'] // 1024:,} MiB resident. Agent:"
        f" {agent['instructions_per_event']:,} instructions for each event that it reads."
    )
    parts = [
        f"### Linux {raw['kernel']}, programs attached as {raw['attachment']}",
        hook_table(counts),
        repeated,
        findings_table(raw),
        processes,
        memory_table(agent),
        program_table(raw["programs"]),
    ]
    return "\n\n".join(parts)


def replace_figures(text: str, figures: str, markers: tuple[str, str] = (BEGIN, END)) -> str:
    """`text` with what lies between the markers replaced. ValueError if there are none."""
    begin, end = markers
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the lines {begin} and {end} are not there")
    return f"{before}{begin}\n\n{figures}\n\n{end}{after}"
