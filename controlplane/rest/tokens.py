# SPDX-License-Identifier: Apache-2.0
"""Tokens: made, listed, revoked. Rotation: make a new one, hand it out, revoke the old one."""

from __future__ import annotations

from http import HTTPStatus

from controlplane import security
from controlplane.contract.records import Fault, NewToken, Token, TokenList, TokenRequest
from controlplane.rest.problem import Refusal, unknown
from controlplane.rest.route import ApiRequest, Reply
from controlplane.storage import audit, tokens


async def list_tokens(request: ApiRequest) -> Reply:
    """Every token without its secret, revoked and expired ones too."""
    async with request.services.database.reading() as connection:
        found = await tokens.all(connection)
    return Reply(TokenList(tokens=found))


async def create_token(request: ApiRequest) -> Reply:
    """A new token. The secret is in this answer and nowhere else, ever."""
    wanted: TokenRequest = request.body
    _check_node(wanted)
    now = request.services.clock()
    number, secret = security.new_token()
    token = Token(
        id=number,
        name=wanted.name,
        role=wanted.role,
        node=wanted.node,
        created=now,
        expires=now + wanted.seconds if wanted.seconds is not None else None,
        revoked=None,
        last_used=None,
    )
    async with request.services.database.writing() as connection:
        await tokens.add(connection, token, security.token_hash(secret))
        detail = f"{token.role} {token.name}"
        await audit.record(connection, request.actor, "token.create", number, detail, now)
    return Reply(NewToken(token=token, secret=secret), HTTPStatus.CREATED)


async def revoke_token(request: ApiRequest) -> Reply:
    """From the next request on it opens nothing. It stays in the list."""
    name = request.path("id")
    now = request.services.clock()
    async with request.services.database.writing() as connection:
        if not await tokens.revoke(connection, name, now):
            raise unknown("token", name)
        await audit.record(connection, request.actor, "token.revoke", name, "", now)
    return Reply(status=HTTPStatus.NO_CONTENT)


def _check_node(wanted: TokenRequest) -> None:
    message = None
    if wanted.role == "node" and not wanted.node:
        message = "is missing: a token of the role node speaks for one node"
    elif wanted.role != "node" and wanted.node is not None:
        message = f"only a token of the role node has a node, not one of the role {wanted.role}"
    if message is not None:
        fault = Fault(field="node", message=message)
        raise Refusal(HTTPStatus.BAD_REQUEST, "body: 1 fault", [fault])
