# SPDX-License-Identifier: Apache-2.0
"""A typed async client of the control plane's API, for the uplink and the command line.

One method per operation, with the models of `controlplane.contract.records`. It raises ApiError
where the control plane refuses and ApiUnavailable where no answer comes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgpack
from pydantic import BaseModel, ValidationError
from yarl import URL

from controlplane.contract import records
from controlplane.endpoint import Endpoint, parse_endpoint

JSON = "application/json"
SECONDS = 30.0
Model = TypeVar("Model", bound=BaseModel)


class ApiError(Exception):
    """A refusal; str is the problem's detail with every fault on a line of its own."""

    def __init__(self, status: int, problem: records.Problem) -> None:
        faults = [f"{fault.field}: {fault.message}" for fault in problem.faults]
        super().__init__("\n".join([problem.detail or problem.title, *faults]))
        self.status = status
        self.problem = problem


class ApiUnavailable(OSError):
    """No answer, or none that can be understood; str names the address and the cause."""


class ApiClient:
    """One control plane. address: `unix:PATH` or `https://HOST[:PORT]`, see `parse_endpoint`.

    token: the bearer token, or what gives it before each request, so that one that is changed
    on disk needs no new client. Raises ValueError for an address, OSError for a CA file that
    cannot be used.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | Callable[[], str | None] | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._endpoint: Endpoint = parse_endpoint(address)
        self._tls = self._endpoint.tls(ca_file)
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector: aiohttp.BaseConnector
        if self._endpoint.socket is not None:
            connector = aiohttp.UnixConnector(path=self._endpoint.socket)
        else:
            connector = aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True)
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    # --- policies ---------------------------------------------------------------

    async def put_policy(
        self,
        name: str,
        text: str | bytes,
        *,
        content_type: str = "application/yaml",
        wait: int = 0,
        expected: int | None = None,
    ) -> records.PolicyAccepted:
        """Make `text` the policy's next revision, if `expected` (or whichever) is the newest.

        wait: seconds to give live nodes to have it in force before the answer comes.
        """
        body = text.encode() if isinstance(text, str) else text
        headers = {"Content-Type": content_type, **_preferring(wait), **_matching(expected)}
        path = f"/v1/policies/{_part(name)}"
        data = await self._send("PUT", path, body=body, headers=headers, seconds=wait)
        return self._read(records.PolicyAccepted, data)

    async def delete_policy(
        self, name: str, *, wait: int = 0, expected: int | None = None
    ) -> records.PolicyAccepted:
        """Take a policy out of force on every node, as a revision of its own."""
        headers = {**_preferring(wait), **_matching(expected)}
        path = f"/v1/policies/{_part(name)}"
        data = await self._send("DELETE", path, headers=headers, seconds=wait)
        return self._read(records.PolicyAccepted, data)

    async def policies(self) -> records.PolicyList:
        """The newest revision of every policy, and the nodes that have it."""
        return await self._get(records.PolicyList, "/v1/policies")

    async def policy(self, name: str) -> records.PolicyStatus:
        """The newest revision of one policy, and the nodes that have it."""
        return await self._get(records.PolicyStatus, f"/v1/policies/{_part(name)}")

    async def policy_history(self, name: str) -> records.PolicyHistory:
        """Every revision, newest first."""
        return await self._get(records.PolicyHistory, f"/v1/policies/{_part(name)}/revisions")

    async def policy_revision(self, name: str, number: int) -> records.PolicyRevision:
        """One revision."""
        path = f"/v1/policies/{_part(name)}/revisions/{number}"
        return await self._get(records.PolicyRevision, path)

    # --- what is known ----------------------------------------------------------

    async def nodes(self) -> records.NodeList:
        """Every node, with its last report."""
        return await self._get(records.NodeList, "/v1/nodes")

    async def workloads(self, *, node: str | None = None) -> records.WorkloadList:
        """Every workload of every live node, and why one is not covered."""
        return await self._get(records.WorkloadList, "/v1/workloads", node=node)

    async def events(
        self,
        *,
        id: str | None = None,  # noqa: A002
        node: str | None = None,
        workload: str | None = None,
        episode: str | None = None,
        call: str | None = None,
        policy: str | None = None,
        kind: str | None = None,
        decision: str | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> records.EventList:
        """Events that match all that is given, oldest first; see EventList for the next page."""
        return await self._get(
            records.EventList, "/v1/events", id=id, node=node, workload=workload, episode=episode,
            call=call, policy=policy, kind=kind, decision=decision, after=after, limit=limit,
        )  # fmt: skip

    async def event(self, identity: str) -> records.StoredEvent:
        """One event."""
        return await self._get(records.StoredEvent, f"/v1/events/{_part(identity)}")

    async def tool_calls(
        self, *, episode: str | None = None, call: str | None = None, limit: int | None = None
    ) -> records.ToolCallList:
        """Tool calls, newest first; call: the id that the executor gave."""
        query = {"episode": episode, "id": call, "limit": limit}
        return await self._get(records.ToolCallList, "/v1/tool-calls", **query)

    async def incidents(
        self,
        *,
        state: str | None = None,
        episode: str | None = None,
        limit: int | None = None,
    ) -> records.IncidentList:
        """Incidents, newest first."""
        query = {"state": state, "episode": episode, "limit": limit}
        return await self._get(records.IncidentList, "/v1/incidents", **query)

    async def incident(self, identity: str) -> records.IncidentDetail:
        """One incident with its call, its events and what followed."""
        return await self._get(records.IncidentDetail, f"/v1/incidents/{_part(identity)}")

    async def change_incident(
        self, identity: str, change: records.IncidentChange
    ) -> records.Incident:
        """Set an incident's state or note."""
        path = f"/v1/incidents/{_part(identity)}"
        data = await self._send("PATCH", path, model=change)
        return self._read(records.Incident, data)

    # --- episodes ---------------------------------------------------------------

    async def episodes(self) -> records.EpisodeList:
        """Every episode, newest first."""
        return await self._get(records.EpisodeList, "/v1/episodes")

    async def put_episode(self, identity: str, binding: records.EpisodeBinding) -> records.Episode:
        """Open an episode, or say more about it."""
        path = f"/v1/episodes/{_part(identity)}"
        return self._read(records.Episode, await self._send("PUT", path, model=binding))

    async def close_episode(self, identity: str) -> records.Episode:
        """End an episode."""
        path = f"/v1/episodes/{_part(identity)}/close"
        return self._read(records.Episode, await self._send("POST", path))

    async def episode(self, identity: str) -> records.Episode:
        """An episode's record."""
        return await self._get(records.Episode, f"/v1/episodes/{_part(identity)}")

    # --- tokens -----------------------------------------------------------------

    async def tokens(self) -> records.TokenList:
        """Every token, without secrets."""
        return await self._get(records.TokenList, "/v1/tokens")

    async def create_token(self, request: records.TokenRequest) -> records.NewToken:
        """A new token; its secret is in this answer and nowhere else."""
        return self._read(records.NewToken, await self._send("POST", "/v1/tokens", model=request))

    async def revoke_token(self, identity: str) -> None:
        """End a token's life."""
        await self._send("DELETE", f"/v1/tokens/{_part(identity)}")

    # --- for nodes --------------------------------------------------------------

    async def report(self, node: str, report: records.NodeReport) -> None:
        """Say how a node is."""
        await self._send("POST", f"/v1/nodes/{_part(node)}/report", model=report)

    async def desired_policies(
        self, node: str, *, after: int | None = None, wait: int = 0
    ) -> records.DesiredPolicies:
        """What the node shall have in force, at once or when it is another version than `after`.

        With the same version when `wait` seconds are over.
        """
        path = f"/v1/nodes/{_part(node)}/policies"
        query = {"after": after, "wait": wait or None}
        data = await self._send("GET", path, query=query, seconds=wait)
        return self._read(records.DesiredPolicies, data)

    async def acknowledge(
        self, node: str, boot: str, acknowledgements: Sequence[records.Acknowledgement]
    ) -> None:
        """Tell which revisions a node has in force, and which it refused."""
        said = [acknowledgement.model_dump() for acknowledgement in acknowledgements]
        body = json.dumps({"boot": boot, "acknowledgements": said}).encode()
        path = f"/v1/nodes/{_part(node)}/acknowledgements"
        await self._send("POST", path, body=body, headers={"Content-Type": JSON})

    async def ingest(
        self,
        node: str,
        boot: str,
        *,
        events: Sequence[dict[str, Any]] = (),
        calls: Sequence[records.ToolCall] = (),
        dropped: int = 0,
    ) -> records.IngestResult:
        """Store events and calls of one boot; once this returns they are on disk there.

        dropped: events of the node that went for room unsent, ever. Sending a batch again is
        harmless. Raises ValueError for what cannot be packed.
        """
        batch = {
            "version": records.API_VERSION,
            "boot": boot,
            "events": list(events),
            "calls": [call.model_dump() for call in calls],
            "dropped": dropped,
        }
        try:
            body = msgpack.packb(batch, unicode_errors="surrogateescape")
        except (TypeError, OverflowError) as error:
            raise ValueError(f"a batch cannot be packed: {error}") from None
        headers = {"Content-Type": "application/msgpack"}
        path = f"/v1/nodes/{_part(node)}/events"
        return self._read(
            records.IngestResult, await self._send("POST", path, body=body, headers=headers)
        )

    # --- the way there ----------------------------------------------------------

    async def _get(self, model: type[Model], path: str, **query: str | int | None) -> Model:
        return self._read(model, await self._send("GET", path, query=query))

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        model: BaseModel | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        seconds: float = 0,
    ) -> bytes:
        """One request; the body of its answer. seconds: how long the server may take to think."""
        assert self._session is not None, "used outside `async with`"
        sent = {**self._authorization(), **(headers or {})}
        if model is not None:
            sent["Content-Type"] = JSON
            body = model.model_dump_json(exclude_unset=True).encode()
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        url = URL(self._endpoint.url + path, encoded=True).with_query(given)
        timeout = aiohttp.ClientTimeout(total=SECONDS + seconds)
        try:
            # A redirection could carry the token elsewhere.
            async with self._session.request(
                method, url, data=body, headers=sent, timeout=timeout, allow_redirects=False
            ) as answer:
                data = await answer.read()
                if answer.status >= 300:
                    raise ApiError(answer.status, _problem(answer.status, answer.reason, data))
                return data
        except TimeoutError:
            cause = f"no answer within {SECONDS + seconds:g} s"
        except (aiohttp.ClientError, OSError) as error:
            cause = _cause(error)
        raise ApiUnavailable(f"{self._endpoint}: {cause}")

    def _authorization(self) -> dict[str, str]:
        token = self._token() if callable(self._token) else self._token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _read(self, model: type[Model], data: bytes) -> Model:
        # Fields of a newer control plane are passed over, so that it can be upgraded first.
        try:
            return model.model_validate_json(data, extra="ignore")
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            raise ApiUnavailable(
                f"{self._endpoint}: the answer is no {model.__name__}: {place}: {fault['msg']}"
            ) from None


def _part(name: str) -> str:
    """A name as one part of a path, whatever it holds."""
    return quote(name, safe="")


def _preferring(wait: int) -> dict[str, str]:
    return {"Prefer": f"wait={wait}"} if wait else {}


def _matching(expected: int | None) -> dict[str, str]:
    return {} if expected is None else {"If-Match": f'"{expected}"'}


def _problem(status: int, reason: str | None, data: bytes) -> records.Problem:
    try:
        return records.Problem.model_validate_json(data, extra="ignore")
    except ValidationError:
        title = reason or f"status {status}"
        detail = data[:500].decode("utf-8", "replace").strip()
        return records.Problem(title=title, status=status, detail=detail)


def _cause(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate is not trusted: {error.certificate_error}"
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    number = getattr(inner, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return str(inner) or type(inner).__name__
