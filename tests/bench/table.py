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
    Attempt("connect, UDP", "connect_udp"),
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


OTHERS_COLUMNS = (
    "added instructions, allowed",
    "AppArmor",
    "systemd's cgroup filters",
    "Lictor, inside",
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


def others_table(raw: dict[str, Any]) -> str:
    """What others add to an attempt that they allow, on the same kernel, beside Lictor."""
    counts, others = raw["counts"], raw["others"]

    def more(rows: dict[str, Any], base: dict[str, Any], kind: str) -> str:
        return f"{rows[kind]['median'] - base[kind]['median']:+,}"

    return markdown(
        OTHERS_COLUMNS,
        (
            [
                attempt.title,
                more(others["apparmor"], counts["none"]["inside"], attempt.allowed),
                more(others["systemd"], others["systemd_plain"], attempt.allowed),
                f"{added(counts, 'lictor', 'inside', attempt.allowed):+,}",
            ]
            for attempt in ATTEMPTS
            if attempt.allowed
        ),
    )


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


def memory_table(rows: Sequence[tuple[str, dict[str, int]]]) -> str:
    """Resident memory of processes, by kind."""
    fields = list(rows[0][1])
    return markdown(
        ("resident memory, KiB", *fields),
        ([title, *(f"{memory[name]:,}" for name in fields)] for title, memory in rows),
    )


def _memory_of(raw: dict[str, Any]) -> str:
    agent, idle = raw["agent"], raw["stack"]["idle"]
    return memory_table(
        [
            ("agent, alone, after its start", agent["start"]),
            (f"agent, after {agent['events']:,} events", agent["after_events"]),
            ("agent, whole node idle", idle["agent"]),
            ("uplink, whole node idle", idle["uplink"]),
            ("control plane, whole node idle", idle["controlplane"]),
        ]
    )


def put_table(puts: list[dict[str, Any]]) -> str:
    """What a policy takes from its PUT to the answer, and which process takes it."""
    parts = ("client", "controlplane", "uplink", "agent")
    return markdown(
        (
            "policy PUT to kernel, million guest instructions",
            *("p50", "p99", "of p50: client", "control plane", "uplink", "agent"),
        ),
        (
            [
                f"{row['policies']} in force, {row['samples']} PUTs",
                _millions(row["p50"]),
                _millions(row["p99"]),
                *(_millions(row["parts"][name]) for name in parts),
            ]
            for row in puts
        ),
    )


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f}"


def native_section(raw: dict[str, Any]) -> str:
    """Everything that was measured without a VM."""
    taken = raw["ingest"]
    rate = f"Ingest: {taken['events_per_cpu_second']:,} events for each CPU second of its process."
    memory = memory_table(
        [
            ("control plane, after its start", taken["memory"]["start"]),
            (f"control plane, after {taken['events']:,} events", taken["memory"]["after_events"]),
        ]
    )
    puts = markdown(
        ("policy PUT to answer without agent and kernel, ms", "p50", "p99"),
        (
            [
                f"{row['policies']} in force, {row['samples']} PUTs",
                *(_millions(row[name]) for name in ("p50", "p99")),
            ]
            for row in raw["puts"]
        ),
    )
    return "\n\n".join(["### The control plane, without a VM", rate, puts, memory])


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
        others_table(raw),
        processes,
        put_table(raw["stack"]["puts"]),
        _memory_of(raw),
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
