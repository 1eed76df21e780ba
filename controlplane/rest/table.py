# SPDX-License-Identifier: Apache-2.0
"""Every route of the API."""

from __future__ import annotations

from http import HTTPStatus

from controlplane.contract.policy import Policy
from controlplane.contract.records import (
    AuditList,
    DesiredPolicies,
    Episode,
    EpisodeBinding,
    EpisodeList,
    EventList,
    Incident,
    IncidentChange,
    IncidentDetail,
    IncidentList,
    IngestResult,
    NewToken,
    NodeList,
    NodeReport,
    PolicyAccepted,
    PolicyHistory,
    PolicyList,
    PolicyRevision,
    PolicyStatus,
    StoredEvent,
    TokenList,
    TokenRequest,
    ToolCallList,
    WorkloadList,
)
from controlplane.rest import audit, episodes, events, incidents, nodes, policies, system, tokens
from controlplane.rest.batches import Batch
from controlplane.rest.route import JSON, MSGPACK, YAML, Body, Route
from controlplane.security import EPISODE_READERS, NODES, OPERATORS, TOOLS, VIEWERS

OK, CREATED, ACCEPTED = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED
NO_CONTENT = HTTPStatus.NO_CONTENT
STALE = HTTPStatus.PRECONDITION_FAILED
UNKNOWN = HTTPStatus.NOT_FOUND

POLICY_BODY = Body(
    (YAML, JSON, "application/x-yaml", "text/yaml"),
    schema=Policy,
    limit=1 << 20,
    summary="The whole document; metadata.name is the path's name.",
)
# A node may have thousands of workloads, and a report is sent whole.
REPORT_BODY = Body((JSON,), NodeReport, limit=4 << 20)
BATCH_BODY = Body((MSGPACK,), schema=Batch, limit=16 << 20)
IF_MATCH = {"If-Match": 'Only if the newest revision is this one, such as `"3"`; else 412.'}
PREFER = {"Prefer": "`wait=N`: wait up to N seconds (at most 60) until every live node answered."}
ROLLED_OUT = {OK: PolicyAccepted, ACCEPTED: PolicyAccepted}

ROUTES: tuple[Route, ...] = (
    Route(
        "GET", "/v1/policies", policies.list_policies, VIEWERS,
        "List policies and where each is in force.",
        {OK: PolicyList}, query=policies.PolicyListQuery,
    ),
    Route(
        "PUT", "/v1/policies/{name}", policies.put_policy, OPERATORS,
        "Put a policy into force on every node. 200: every live node has read it back from its "
        "kernel; 202: not yet, or a node refused it, as `nodes` says.",
        ROLLED_OUT, body=POLICY_BODY, headers=IF_MATCH | PREFER, refusals=(STALE,),
    ),
    Route(
        "GET", "/v1/policies/{name}", policies.get_policy, VIEWERS,
        "Show a policy's newest revision, be it a removal, and where it is in force.",
        {OK: PolicyStatus}, refusals=(UNKNOWN,),
    ),
    Route(
        "DELETE", "/v1/policies/{name}", policies.delete_policy, OPERATORS,
        "Remove a policy from every node.",
        ROLLED_OUT, headers=IF_MATCH | PREFER, refusals=(UNKNOWN, STALE),
    ),
    Route(
        "GET", "/v1/policies/{name}/revisions", policies.list_revisions, VIEWERS,
        "List a policy's revisions, newest first.",
        {OK: PolicyHistory}, refusals=(UNKNOWN,),
    ),
    Route(
        "GET", "/v1/policies/{name}/revisions/{revision}", policies.get_revision, VIEWERS,
        "Show one revision.",
        {OK: PolicyRevision}, refusals=(UNKNOWN,),
    ),
    Route(
        "GET", "/v1/nodes", nodes.list_nodes, VIEWERS,
        "List nodes and what each reported last.",
        {OK: NodeList},
    ),
    Route(
        "POST", "/v1/nodes/{node}/report", nodes.report_node, NODES,
        "Report how a node is.",
        {NO_CONTENT: None}, body=REPORT_BODY, own_node=True,
    ),
    Route(
        "GET", "/v1/nodes/{node}/policies", nodes.desired_policies, NODES,
        "Fetch what a node shall have in force, as soon as its version is not `after`.",
        {OK: DesiredPolicies}, query=nodes.DesiredQuery, own_node=True,
    ),
    Route(
        "POST", "/v1/nodes/{node}/acknowledgements", nodes.acknowledge, NODES,
        "Say which revisions a node has in force, and which it refused.",
        {NO_CONTENT: None}, body=Body((JSON,), nodes.Acknowledgements, limit=4 << 20),
        own_node=True,
    ),
    Route(
        "POST", "/v1/nodes/{node}/events", events.ingest_batch, NODES,
        "Store events and tool calls. The answer comes after they are on disk; a batch that is "
        "sent again is counted as duplicates.",
        {OK: IngestResult}, body=BATCH_BODY, own_node=True,
    ),
    Route(
        "GET", "/v1/workloads", nodes.list_workloads, VIEWERS,
        "List the workloads of live nodes, and why one is not covered.",
        {OK: WorkloadList}, query=nodes.WorkloadQuery,
    ),
    Route(
        "GET", "/v1/events", events.list_events, VIEWERS,
        "List events, oldest first, a page at a time.",
        {OK: EventList}, query=events.EventQuery,
    ),
    Route(
        "GET", "/v1/events/{id}", events.get_event, VIEWERS,
        "Show one event.",
        {OK: StoredEvent}, refusals=(UNKNOWN,),
    ),
    Route(
        "GET", "/v1/tool-calls", events.list_calls, VIEWERS,
        "List tool calls, newest first.",
        {OK: ToolCallList}, query=events.CallQuery,
    ),
    Route(
        "GET", "/v1/incidents", incidents.list_incidents, VIEWERS,
        "List incidents, newest first.",
        {OK: IncidentList}, query=incidents.IncidentQuery,
    ),
    Route(
        "GET", "/v1/incidents/{id}", incidents.get_incident, VIEWERS,
        "Show an incident with its tool call, its events and what followed.",
        {OK: IncidentDetail}, refusals=(UNKNOWN,),
    ),
    Route(
        "PATCH", "/v1/incidents/{id}", incidents.change_incident, OPERATORS,
        "Judge an incident: its state, a note.",
        {OK: Incident}, body=Body((JSON,), IncidentChange), refusals=(UNKNOWN,),
    ),
    Route(
        "GET", "/v1/episodes", episodes.list_episodes, VIEWERS,
        "List episodes, newest first.",
        {OK: EpisodeList},
    ),
    Route(
        "PUT", "/v1/episodes/{id}", episodes.put_episode, TOOLS,
        "Say whose an episode is.",
        {OK: Episode}, body=Body((JSON,), EpisodeBinding),
    ),
    Route(
        "GET", "/v1/episodes/{id}", episodes.get_episode, EPISODE_READERS,
        "Show an episode's record: calls, incidents, decisions, and whether any is missing.",
        {OK: Episode}, refusals=(UNKNOWN,),
    ),
    Route(
        "POST", "/v1/episodes/{id}/close", episodes.close_episode, TOOLS,
        "Close an episode.",
        {OK: Episode}, refusals=(UNKNOWN,),
    ),
    Route(
        "GET", "/v1/tokens", tokens.list_tokens, OPERATORS,
        "List tokens, without their secrets.",
        {OK: TokenList},
    ),
    Route(
        "POST", "/v1/tokens", tokens.create_token, OPERATORS,
        "Make a token; the secret is shown this once.",
        {CREATED: NewToken}, body=Body((JSON,), TokenRequest),
    ),
    Route(
        "DELETE", "/v1/tokens/{id}", tokens.revoke_token, OPERATORS,
        "Revoke a token.",
        {NO_CONTENT: None}, refusals=(UNKNOWN,),
    ),
    Route(
        "GET", "/v1/audit", audit.list_audit, OPERATORS,
        "List who changed what, newest first.",
        {OK: AuditList}, query=audit.AuditQuery,
    ),
    Route(
        "GET", "/healthz", system.healthz, None,
        "Say whether the process is alive.",
        {OK: None}, media_type=system.TEXT,
    ),
    Route(
        "GET", "/readyz", system.readyz, None,
        "Say whether the database answers.",
        {OK: None}, media_type=system.TEXT,
    ),
    Route(
        "GET", "/metrics", system.read_metrics, VIEWERS,
        "Give all counts in Prometheus' text form.",
        {OK: None}, media_type=system.METRICS_TEXT,
    ),
    Route(
        "GET", "/v1/openapi.json", system.openapi, None,
        "Give this document.",
        {OK: None},
    ),
)  # fmt: skip
