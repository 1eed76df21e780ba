# SPDX-License-Identifier: Apache-2.0
"""What the API takes and gives: one model for the storage, the handlers and the client.

Times are unix seconds. Names of nodes, policies and episodes are opaque text.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

API_VERSION = 1

Role = Literal["viewer", "operator", "node", "tool"]
IncidentState = Literal["open", "acknowledged", "false-positive"]
IncidentClass = Literal[
    "egress", "ingress", "exec", "device", "unix", "guard", "escape", "exempt", "other"
]
Severity = Literal["low", "medium", "high"]
EpisodeState = Literal["open", "closed"]
AckState = Literal["acked", "failed"]


class Record(BaseModel):
    """A record of the API: fields that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- policies ---------------------------------------------------------------


class PolicyFailure(Record):
    """A node that refused a revision, and why."""

    node: str
    message: str


class Rollout(Record):
    """Where a revision is in force: read back from each node's kernel."""

    acked: list[str]
    pending: list[str]
    failed: list[PolicyFailure]


class PolicyRevision(Record):
    """One immutable revision. text: the document as it was sent; empty where it was a removal."""

    name: str
    revision: int
    removed: bool
    text: str
    author: str
    created: float


class PolicyStatus(Record):
    """The newest revision of a policy, and the nodes that have it."""

    policy: PolicyRevision
    nodes: Rollout


class PolicyAccepted(Record):
    """The answer to a PUT or DELETE: 200 if nodes are live and all acknowledged, else 202."""

    name: str
    revision: int
    nodes: Rollout


class DesiredPolicies(Record):
    """All that a node shall have in force. version: changes with every accepted change."""

    version: int
    policies: list[PolicyRevision]


# --- nodes and workloads ----------------------------------------------------


class Acknowledgement(Record):
    """A node's word on one revision; `acked` means read back from the kernel."""

    policy: str
    revision: int
    state: AckState
    message: str = ""


class WorkloadReport(Record):
    """A workload as the node sees it. reason: why it is not covered, or not wholly.

    exempt_until: until when its policy denies nothing, as an operator of the node said, and why.
    """

    id: int
    path: str
    policy: str | None
    covered: bool
    reason: str = ""
    exempt_until: float | None = None
    exempt_reason: str = ""
    events: int = 0
    delivered: int = 0
    suppressed: int = 0
    lost: int = 0


class NodeReport(Record):
    """What a node tells every few seconds.

    enforcing: a denial was seen lately, and every stored policy is in force; enforcing_since: since
    when it is so or not; canary_at: when a denial was last tried for. Unix seconds of the node's
    clock, null where it does not know.
    spool_dropped: events that went for room before they were sent, ever; unwritten: events that
    went to a full disk; undecodable: events of the kernel that the agent could not read; refused:
    events and calls that the control plane would not have, ever. policies: the highest revision
    that each name ever had there, also of what was applied by hand.
    """

    boot: str
    version: str
    enforcing: bool
    enforcing_since: float | None = None
    canary_at: float | None = None
    mode: str | None
    problem: str = ""
    spool_dropped: int = 0
    spool_waiting_bytes: int = 0
    unwritten: int = 0
    undecodable: int = 0
    refused: int = 0
    policies: dict[str, int] = Field(default_factory=dict)
    workloads: list[WorkloadReport] = Field(default_factory=list)


class Node(Record):
    """A node as the control plane knows it.

    live: it reported within the last 30 s. enforcing: it is live and says that it enforces.
    """

    name: str
    live: bool
    enforcing: bool
    last_seen: float
    report: NodeReport


class Workload(Record):
    """A workload and the node that it runs on."""

    node: str
    workload: WorkloadReport


# --- events and tool calls --------------------------------------------------


class StoredEvent(Record):
    """An event of schema 1. id: see `event_id`; position: grows with arrival."""

    id: str
    position: int
    event: dict[str, Any]


class ToolCall(Record):
    """A tool call as a node recorded it. number: within the node's boot."""

    node: str
    boot: str
    number: int
    id: str
    episode: str | None
    step: int | None
    tool: str | None
    arguments: Any
    workload: int
    binding: str
    started: float
    ended: float | None
    ending: str | None


class IngestResult(Record):
    """How many of a batch were new, and how many were there already."""

    accepted: int
    duplicates: int


# --- incidents and episodes -------------------------------------------------


class Target(Record):
    """What was attempted, and how often."""

    text: str
    count: int


class Incident(Record):
    """Events of one tool call and class that belong together.

    call: null where no tool call is known (then one incident per workload, process and class).
    rules: `policy#revision: field path or reason` that decided, most frequent first.
    """

    id: str
    node: str
    boot: str
    workload: str
    workload_id: int
    episode: str | None
    call: str | None
    step: int | None
    tool: str | None
    kind: IncidentClass
    severity: Severity
    state: IncidentState
    title: str
    attribution: str
    denied: int
    audited: int
    first: float
    last: float
    first_event: str
    subject: str
    targets: list[Target]
    rules: list[Target]
    note: str = ""


class IncidentDetail(Record):
    """An incident, its call, its events and what its call did after the first of them."""

    incident: Incident
    call: ToolCall | None
    events: list[StoredEvent]
    followed: list[StoredEvent]


class IncidentChange(Record):
    """What an operator may change."""

    state: IncidentState | None = None
    note: str | None = Field(default=None, max_length=10_000)


class EpisodeBinding(Record):
    """PUT of an episode: whose it is. All may be left out."""

    node: str | None = None
    workload: str | None = None
    labels: dict[str, str] = Field(default_factory=dict, max_length=64)


class Completeness(Record):
    """Whether the record of some workloads has gaps. missing: events known to be lost."""

    complete: bool
    events: int
    missing: int
    statement: str


class Episode(Record):
    """An episode's record."""

    id: str
    state: EpisodeState
    created: float
    closed: float | None
    node: str | None
    workload: str | None
    labels: dict[str, str]
    calls: list[ToolCall]
    incidents: list[Incident]
    decisions: dict[str, int]
    completeness: Completeness


# --- tokens -----------------------------------------------------------------


class TokenRequest(Record):
    """A new token. seconds: its life; null for no end. node: whose it is, for the role node."""

    name: str = Field(min_length=1, max_length=200)
    role: Role
    node: str | None = None
    seconds: int | None = Field(default=None, gt=0)


class Token(Record):
    """A token without its secret."""

    id: str
    name: str
    role: Role
    node: str | None
    created: float
    expires: float | None
    revoked: float | None
    last_used: float | None


class NewToken(Record):
    """A token and its secret, which is shown once."""

    token: Token
    secret: str


# --- audit ------------------------------------------------------------------


class AuditEntry(Record):
    """One change. actor: a token's name and id, or root; object: the name of what was changed."""

    time: float
    actor: str
    action: str
    object: str
    detail: str


# --- lists and problems -----------------------------------------------------


class Fault(Record):
    """One fault of a request. field: its place in the body, as `spec.egress.allow[3].to`."""

    field: str
    message: str
    line: int | None = None


class Problem(Record):
    """RFC 9457 problem details: every refusal of the API."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    faults: list[Fault] = Field(default_factory=list)


class PolicyList(Record):
    """GET /v1/policies."""

    policies: list[PolicyStatus]


class PolicyHistory(Record):
    """GET /v1/policies/{name}/revisions, newest first."""

    revisions: list[PolicyRevision]


class NodeList(Record):
    """GET /v1/nodes."""

    nodes: list[Node]


class WorkloadList(Record):
    """GET /v1/workloads."""

    workloads: list[Workload]


class EventList(Record):
    """GET /v1/events: oldest first; `next` is the `after` of the next page."""

    events: list[StoredEvent]
    next: int


class ToolCallList(Record):
    """GET /v1/tool-calls, newest first."""

    calls: list[ToolCall]


class IncidentList(Record):
    """GET /v1/incidents, newest first."""

    incidents: list[Incident]


class EpisodeSummary(Record):
    """One line of the list of episodes."""

    id: str
    state: EpisodeState
    created: float
    closed: float | None
    incidents: int


class EpisodeList(Record):
    """GET /v1/episodes, newest first."""

    episodes: list[EpisodeSummary]


class TokenList(Record):
    """GET /v1/tokens."""

    tokens: list[Token]


class AuditList(Record):
    """GET /v1/audit, newest first."""

    entries: list[AuditEntry]
