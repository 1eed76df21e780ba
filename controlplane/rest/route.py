# SPDX-License-Identifier: Apache-2.0
"""What a route is: its path, who may ask, what it takes and what it gives.

The table of routes drives routing, authorisation, the checks of input and the OpenAPI document,
so that none of them can say what the others do not do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from controlplane.contract.records import Role
from controlplane.security import Principal
from controlplane.services import Services

JSON = "application/json"
MSGPACK = "application/msgpack"
YAML = "application/yaml"

SMALL_BODY = 256 << 10


class Query(BaseModel):
    """Query parameters: a parameter that is not named here is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Body:
    """A request's body. model: what it is checked against; a route without one gets the bytes.

    schema: the model that the document names where the handler itself checks the bytes.
    """

    media_types: tuple[str, ...]
    model: type[BaseModel] | None = None
    schema: type[BaseModel] | None = None
    limit: int = SMALL_BODY
    summary: str = ""


@dataclass(frozen=True)
class ApiRequest:
    """A request whose sender is known and whose parts fit their models."""

    http: web.Request
    principal: Principal | None
    query: Any
    body: Any
    services: Services

    def path(self, name: str) -> str:
        """A variable part of the path."""
        return self.http.match_info[name]

    @property
    def actor(self) -> str:
        """Who asks, as the audit log names them."""
        return self.principal.name if self.principal is not None else "nobody"


@dataclass(frozen=True)
class Reply:
    """An answer. body None: no content; bytes: as they are, of the route's media type."""

    body: BaseModel | bytes | None = None
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[ApiRequest], Awaitable[Reply]]


@dataclass(frozen=True)
class Route:
    """One operation of the API.

    roles: who may ask; None: anybody. own_node: a token of the role node may ask only where the
    path names its node. answers: the statuses of success, each with its model (None: no body).
    refusals: statuses beyond those that every route of its kind can answer.
    """

    method: str
    path: str
    handler: Handler
    roles: frozenset[Role] | None
    summary: str
    answers: Mapping[HTTPStatus, type[BaseModel] | None]
    query: type[Query] = Query
    body: Body | None = None
    own_node: bool = False
    refusals: tuple[HTTPStatus, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = JSON

    @property
    def operation(self) -> str:
        """The operation's name in the document: that of its handler."""
        return str(getattr(self.handler, "__name__", self.path))
