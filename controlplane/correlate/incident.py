# SPDX-License-Identifier: Apache-2.0
"""What is known of one incident, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.contract.records import Incident, IncidentState, Severity, Target
from controlplane.correlate.key import IncidentKey

TARGETS_KEPT = 256
"""Different targets counted one by one; a flood of others is one number, `further`."""

TARGETS_SHOWN = 20
RULES_KEPT = 64
PROBE_TARGETS = 5
"""From so many destinations on, it is probing and not one failed connection."""

# From what is certain to what is least so: an incident is as certain as its weakest event.
ATTRIBUTIONS = ("kernel", "entry", "window", "none")


@dataclass(slots=True)
class Tally:
    """Counts by text, for a limited number of texts."""

    counts: dict[str, int] = field(default_factory=dict)
    further: int = 0

    def add(self, text: str, limit: int) -> None:
        """Count once more; beyond the limit new texts are counted together."""
        if text in self.counts or len(self.counts) < limit:
            self.counts[text] = self.counts.get(text, 0) + 1
        else:
            self.further += 1

    def top(self, limit: int) -> list[Target]:
        """The most frequent first; of equals, those that came first."""
        ordered = sorted(self.counts.items(), key=lambda item: -item[1])
        return [Target(text=text, count=count) for text, count in ordered[:limit]]

    def distinct(self) -> str:
        """How many texts, in words."""
        return f"more than {len(self.counts)}" if self.further else str(len(self.counts))


@dataclass(slots=True)
class KnownIncident:
    """An incident as correlation goes on with it. state and note are an operator's."""

    key: IncidentKey
    workload: str
    attribution: str
    episode: str | None = None
    call: str | None = None
    step: int | None = None
    tool: str | None = None
    state: IncidentState = "open"
    note: str = ""
    denied: int = 0
    audited: int = 0
    first: float = 0.0
    last: float = 0.0
    first_event: str = ""
    first_sequence: int = 0
    lead: str = ""
    subject: str = ""
    targets: Tally = field(default_factory=Tally)
    rules: Tally = field(default_factory=Tally)

    @property
    def severity(self) -> Severity:
        """How much it matters, before anyone has looked."""
        if self.key.kind in ("device", "guard", "escape") or self._probes():
            return "high"
        return "medium" if self.denied else "low"

    @property
    def title(self) -> str:
        """One line: what was attempted and what became of it."""
        if self.key.kind in ("escape", "exempt"):
            return self.lead
        outcome = "denied" if self.denied else "audited"
        if self._probes():
            return f"probed {self.targets.distinct()} destinations ({outcome})"
        others = len(self.targets.counts) - 1
        if others > 0:
            more = f"more than {others}" if self.targets.further else str(others)
            return f"{self.lead} and {more} more {outcome}"
        return f"{self.lead} {outcome}"

    def record(self) -> Incident:
        """As the API gives it."""
        return Incident(
            id=self.key.incident_id(),
            node=self.key.node,
            boot=self.key.boot,
            workload=self.workload,
            workload_id=self.key.workload_id,
            episode=self.episode,
            call=self.call,
            step=self.step,
            tool=self.tool,
            kind=self.key.kind,
            severity=self.severity,
            state=self.state,
            title=self.title,
            attribution=self.attribution,
            denied=self.denied,
            audited=self.audited,
            first=self.first,
            last=self.last,
            first_event=self.first_event,
            subject=self.subject,
            targets=self.targets.top(TARGETS_SHOWN),
            rules=self.rules.top(TARGETS_SHOWN),
            note=self.note,
        )

    def _probes(self) -> bool:
        return self.key.kind == "egress" and len(self.targets.counts) >= PROBE_TARGETS
