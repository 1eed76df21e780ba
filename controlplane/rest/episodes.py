# SPDX-License-Identifier: Apache-2.0
"""Episodes: bound by who runs them, closed, and read with all that happened in them."""

from __future__ import annotations

from controlplane.contract.records import EpisodeBinding, EpisodeList
from controlplane.rest.problem import unknown
from controlplane.rest.route import ApiRequest, Reply
from controlplane.storage import audit, episodes


async def list_episodes(request: ApiRequest) -> Reply:
    """Episodes, newest first."""
    async with request.services.database.reading() as connection:
        found = await episodes.all(connection)
    return Reply(EpisodeList(episodes=found))


async def put_episode(request: ApiRequest) -> Reply:
    """Whose the episode is; may be said again, before or after its first event."""
    name = request.path("id")
    binding: EpisodeBinding = request.body
    now = request.services.clock()
    async with request.services.database.writing() as connection:
        await episodes.put(connection, name, binding, now)
        detail = binding.model_dump_json(exclude_none=True)
        await audit.record(connection, request.actor, "episode.put", name, detail, now)
        episode = await episodes.get(connection, name)
    if episode is None:
        raise unknown("episode", name)
    return Reply(episode)


async def close_episode(request: ApiRequest) -> Reply:
    """The episode is over. Late events still join it."""
    name = request.path("id")
    now = request.services.clock()
    async with request.services.database.writing() as connection:
        await episodes.close(connection, name, now)
        episode = await episodes.get(connection, name)
        if episode is None:
            raise unknown("episode", name)
        await audit.record(connection, request.actor, "episode.close", name, "", now)
    return Reply(episode)


async def get_episode(request: ApiRequest) -> Reply:
    """The record of one episode, and whether it is whole."""
    name = request.path("id")
    async with request.services.database.reading() as connection:
        episode = await episodes.get(connection, name)
    if episode is None:
        raise unknown("episode", name)
    return Reply(episode)
