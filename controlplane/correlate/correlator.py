# SPDX-License-Identifier: Apache-2.0
"""Events and calls in, changed incidents out, in whatever order they come.

Every event is given once: whoever calls drops duplicates before. The result is then the same for
every order and every division into batches, but for which targets are kept of a flood.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.contract.event import event_id
from controlplane.contract.records import ToolCall
from controlplane.correlate import acts
from controlplane.correlate.incident import ATTRIBUTIONS, RULES_KEPT, TARGETS_KEPT, KnownIncident
from controlplane.correlate.key import IncidentKey, incident_key


def concerns(event: Mapping[str, Any]) -> bool:
    """Whether an event belongs to an incident: what was allowed does not."""
    return bool(event["decision"] != "allowed")


def keys_of(events: Iterable[Mapping[str, Any]]) -> set[IncidentKey]:
    """Which incidents these events belong to: what to give the correlator as known."""
    return {incident_key(event) for event in events if concerns(event)}


class Correlator:
    """Takes events and calls; `changed` is what to store. Known incidents are changed in place."""

    def __init__(self, known: Mapping[IncidentKey, KnownIncident]) -> None:
        self._known = dict(known)
        self._changed: dict[IncidentKey, KnownIncident] = {}

    def changed(self) -> list[KnownIncident]:
        """Every incident that is new or differs from what was known."""
        return list(self._changed.values())

    def add_events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take events, of which none was taken before."""
        for event in events:
            if concerns(event):
                self._add(event)

    def add_calls(self, calls: Iterable[ToolCall]) -> None:
        """Take calls' records: they name the calls of incidents that have but a number."""
        by_number = {(call.node, call.boot, call.number): call for call in calls}
        for key, incident in self._known.items():
            call = None if key.call is None else by_number.get((key.node, key.boot, key.call))
            if call is not None and incident.call is None:
                incident.call, incident.episode = call.id, call.episode
                incident.step, incident.tool = call.step, call.tool
                self._changed[key] = incident

    def unnamed_calls(self) -> set[int]:
        """Numbers of calls that have changed incidents and no name yet."""
        return {
            key.call
            for key, incident in self._changed.items()
            if key.call is not None and incident.call is None
        }

    def _add(self, event: Mapping[str, Any]) -> None:
        key = incident_key(event)
        incident = self._known.get(key)
        if incident is None:
            incident = KnownIncident(
                key=key, workload=event["workload"], attribution=event["attribution"]
            )
            self._known[key] = incident
        self._changed[key] = incident
        _name_call(incident, event)
        _count(incident, event)
        _move_ends(incident, event)


def _name_call(incident: KnownIncident, event: Mapping[str, Any]) -> None:
    call = event["tag"].get("call")
    if call and incident.call is None and call.get("id") is not None:
        incident.call, incident.episode = call["id"], call.get("episode")
        incident.step, incident.tool = call.get("step"), call.get("tool")


def _count(incident: KnownIncident, event: Mapping[str, Any]) -> None:
    # state and note stay as an operator set them: a judgement on an incident holds for all of
    # it, and a model that goes on must not be able to raise the alarm again at will. What is
    # new shows in the counts, the severity and the title.
    if event["decision"] == "denied":
        incident.denied += 1
    else:
        incident.audited += 1
    incident.targets.add(acts.target(event), TARGETS_KEPT)
    incident.rules.add(acts.rule(event), RULES_KEPT)
    if _weakness(event["attribution"]) > _weakness(incident.attribution):
        incident.attribution = event["attribution"]


def _move_ends(incident: KnownIncident, event: Mapping[str, Any]) -> None:
    order = (event["time"], event["sequence"] or 0)
    if not incident.first_event or order < (incident.first, incident.first_sequence):
        incident.first, incident.first_sequence = order
        incident.first_event = event_id(event)
        incident.lead = acts.lead(event)
        incident.subject = acts.subject(event)
        incident.workload = event["workload"]
    incident.last = max(incident.last, event["time"])


def _weakness(attribution: str) -> int:
    known = attribution in ATTRIBUTIONS
    return ATTRIBUTIONS.index(attribution) if known else len(ATTRIBUTIONS)
