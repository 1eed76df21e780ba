# SPDX-License-Identifier: Apache-2.0
"""A process that takes batches until it is killed, and says after each that it has it.

python -m tests.unit.controlplane.storage.ingesting DATABASE FIRST
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path
from typing import Any

from controlplane.storage import ingest
from controlplane.storage.database import Database
from tests.unit.controlplane.samples import BOOT, NODE, call_tag, make_call, make_denied, make_event

SIZE = 100
DENIED_OF_BATCH = SIZE // 5


def batch(number: int) -> list[dict[str, Any]]:
    """Events of two workloads, a fifth denied; the same for the same number."""
    first = number * SIZE // 2 + 1
    call = call_tag(number // 10)
    return [
        (make_denied if sequence % 5 == 0 else make_event)(
            sequence, workload_id=workload, call=call
        )
        for sequence in range(first, first + SIZE // 2)
        for workload in (1, 2)
    ]


async def take(path: Path, first: int) -> None:
    """Take batches from this number on."""
    database = await Database.open(path)
    for number in count(first):
        async with database.writing() as connection:
            calls = [make_call(number // 10)]
            await ingest.batch(connection, NODE, BOOT, batch(number), calls, 0, float(number))
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1]), int(sys.argv[2])))
