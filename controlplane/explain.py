# SPDX-License-Identifier: Apache-2.0
"""Why an attempt was allowed or denied, and what would allow it. Pure: events and policies in.

`explain` never refuses an event of schema 1; `allow` refuses what a person should decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.contract.event import event_id
from controlplane.contract.policy import Policy, parse_policy_object
from controlplane.correlate.acts import lead
from controlplane.explain_attempt import Attempt, Connection, Device, Visit, attempt_of, section_of
from controlplane.explain_change import Change, applied, change_for, flow_text
from controlplane.explain_nearest import Nearest, nearest
from controlplane.explain_reasons import BEYOND_POLICY, DECISIONS, EXEMPT, FORK, REASONS
from controlplane.explain_rules import GpuNames, Judgement, judge, rule_values, scopes

__all__ = ["Change", "Explanation", "GpuNames", "Nearest", "allow", "explain", "proposed"]


@dataclass(frozen=True)
class Explanation:
    """Each text is one line for people, from which control characters have not been taken.

    rule, nearest.rule: field paths below `spec`. texts: what stands at the two, as YAML.
    now: what the policy in force says of the same attempt, where that is another revision.
    change: None where `obstacle` says why there is none, or where nothing was stopped.
    """

    attempt: str
    decision: str
    reason: str
    rule: str | None
    nearest: Nearest | None
    texts: Mapping[str, str]
    now: str | None
    change: Change | None
    obstacle: str | None
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """For --json."""
        near = self.nearest
        return {
            "attempt": self.attempt,
            "decision": self.decision,
            "reason": self.reason,
            "rule": self.rule and {"field": self.rule, "text": self.texts.get(self.rule)},
            "nearest": near and {
                "field": near.rule, "text": self.texts.get(near.rule), "why": near.why,
            },
            "now": self.now,
            "change": self.change and self.change.document(),
            "obstacle": self.obstacle,
            "notes": list(self.notes),
        }  # fmt: skip


def explain(
    event: Mapping[str, Any],
    policy: Policy | None,
    *,
    current: Policy | None = None,
    gpus: GpuNames | None = None,
) -> Explanation:
    """What an event of schema 1 means. ValueError names the field of one that is not.

    policy: the revision that decided, None where it is not at hand. current: the one in force
    now, if that is another; the change is one of that. gpus: the node's GPUs by their numbers.
    """
    attempt = attempt_of(event)
    grants = event["tag"]["grants"]
    stopped = event["decision"] != "allowed"
    change, obstacle, judgement = None, None, None
    if stopped:
        try:
            _refuse_beyond_policy(event)
            base = current or policy
            judgement = judge(base, attempt, grants, gpus) if base else Judgement(False)
            if not judgement.allowed:
                change = change_for(base, attempt, grants, gpus)
        except ValueError as error:
            obstacle = str(error)
    near = None
    if policy is not None and stopped and event["reason"] not in BEYOND_POLICY:
        near = nearest(policy, attempt, grants, gpus)
    values = rule_values(policy) if policy is not None else {}
    return Explanation(
        attempt=lead(event),
        decision=EXEMPT if event["tag"].get("exempt") else DECISIONS[event["decision"]],
        reason=_reason(event, attempt, policy),
        rule=event["rule"],
        nearest=near,
        texts={path: flow_text(value) for path, value in values.items()},
        now=_now(judgement) if current is not None and judgement is not None else None,
        change=change,
        obstacle=obstacle,
        notes=tuple(_notes(event, attempt, change)),
    )


def allow(
    policy: Policy, event: Mapping[str, Any], *, gpus: GpuNames | None = None
) -> dict[str, Any]:
    """The document of `policy` with the one entry that makes it allow what the event attempted.

    A policy that allows it already comes back as it is. ValueError where no rule can allow it,
    or where that is not for Lictor to decide, as against a denial by name.
    """
    change = proposed(policy, event, gpus=gpus)
    if change is None:
        return policy.to_document()
    name = f"event {event_id(event)}"
    try:
        changed = parse_policy_object(applied(policy, change), name)
    except ValueError as error:
        raise ValueError(f"{name}: {change.field}: {error}") from None
    if not judge(changed, attempt_of(event), event["tag"]["grants"], gpus).allowed:
        text = flow_text(change.value)
        raise ValueError(f"{name}: {text} in {change.field} would not allow it")
    return changed.to_document()


def proposed(
    policy: Policy, event: Mapping[str, Any], *, gpus: GpuNames | None = None
) -> Change | None:
    """What `allow` adds; None where the policy allows it already. ValueError as `allow`."""
    try:
        attempt = attempt_of(event)
        grants = event["tag"]["grants"]
        _refuse_beyond_policy(event)
        if judge(policy, attempt, grants, gpus).allowed:
            return None
        change = change_for(policy, attempt, grants, gpus)
        if change.refusal is not None:
            raise ValueError(change.refusal)
        return change
    except ValueError as error:
        raise ValueError(f"event {event_id(event)}: {error}") from None


def _refuse_beyond_policy(event: Mapping[str, Any]) -> None:
    if event["decision"] == "allowed":
        return
    if event["kind"] == "fork":
        raise ValueError(f"{FORK}: {BEYOND_POLICY['no_storage']}")
    if event["reason"] in BEYOND_POLICY:
        raise ValueError(BEYOND_POLICY[event["reason"]])


def _reason(event: Mapping[str, Any], attempt: Attempt, policy: Policy | None) -> str:
    reason: str = event["reason"]
    rule = event["rule"]
    text = REASONS.get(reason, reason)
    name = section_of(attempt)
    if reason == "rule":
        verb = "allows" if event["decision"] == "allowed" else "denies"
        if rule is not None:
            return f"{rule} {verb} it"
        return "the rules that match belong to grants, and none that the process held allows it"
    if policy is None or name is None:
        return text
    if reason == "any":
        return f"{rule or name} is `any`"
    if reason == "not_allowed":
        sections = [s.sections[name] for s in scopes(policy, event["tag"]["grants"])
                    if name in s.sections]  # fmt: skip
        if all(section.kind == "none" for section in sections):
            return f"{name} is `none`"
        return f"no rule of {' or '.join(section.field_path for section in sections)} matches"
    return text


def _now(judgement: Judgement) -> str:
    if judgement.allowed:
        return f"allowed, by {judgement.rule}"
    if judgement.condition is not None:
        return f"allowed by {judgement.condition} in a network namespace of its own, else denied"
    return f"denied, by {judgement.rule}" if judgement.rule is not None else "no rule allows it"


def _notes(event: Mapping[str, Any], attempt: Attempt, change: Change | None) -> list[str]:
    notes = []
    if (
        isinstance(attempt, Connection)
        and not isinstance(attempt, Visit)
        and attempt.is_loopback
        and change is not None
    ):
        notes.append(
            "with the host's network this address is a service of the host; `to: loopback`"
            " allows it only in a network namespace of the workload's own"
        )
    if isinstance(attempt, Device) and attempt.is_gpu and change is not None:
        notes.append("a GPU comes with the control and UVM nodes that any GPU needs")
    grants = event["tag"]["grants"]
    if grants and change is not None and change.action == "add":
        below = change.field.removeprefix("spec.")
        notes.append(
            f"the change is for every process; the one here held {', '.join(grants)}: for"
            f" holders alone, write it under spec.grants.{grants[0]}.{below}"
        )
    return notes
