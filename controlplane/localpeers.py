# SPDX-License-Identifier: Apache-2.0
"""Whether a process of this machine is in a workload: this node's agent knows.

Root on the Unix socket is the operator without a token. A model that runs as root in a workload
with the host's files (`lictor run`, a container that was given the socket) must not be.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from controlplane.contract.wire import PROTOCOL_VERSION, FrameError, FrameReader, encode

AGENT_SOCKET = Path("/run/lictor/calls/calls.sock")
ANSWER_SECONDS = 5.0
CHUNK = 1 << 16


async def is_surely_outside(pid: int, since: float, agent: Path = AGENT_SOCKET) -> bool:
    """Whether process `pid` is in no workload. True where no agent ever ran since the boot.

    since: seconds since boot; a process that started later is another one with the same pid.

    An agent that does not answer, or a process that is gone, makes it false: nobody knows then.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reply = await _ask(agent, pid, since)
    except FileNotFoundError:
        return True
    except (OSError, FrameError, TimeoutError):
        return False
    return reply.get("ok") is True and reply.get("outside") is True


async def _ask(agent: Path, pid: int, since: float) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(agent))
    try:
        request = {"version": PROTOCOL_VERSION, "operation": "outside", "pid": pid, "since": since}
        writer.write(encode(request))
        await writer.drain()
        frames = FrameReader()
        while data := await reader.read(CHUNK):
            for reply in frames.feed(data):
                return reply
        return {}
    finally:
        writer.close()
