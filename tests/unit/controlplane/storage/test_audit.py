# SPDX-License-Identifier: Apache-2.0
"""Who changed what is kept with the change, or not at all."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.contract.records import AuditEntry
from controlplane.storage import audit, policies
from tests.unit.controlplane.storage.conftest import NOW, Storage


def entry(time: float, actor: str, action: str, detail: str) -> AuditEntry:
    return AuditEntry(time=time, actor=actor, action=action, object="base", detail=detail)


def test_entries_are_kept_newest_first(storage: Storage) -> None:
    storage.write(audit.record, "uid 0", "policy.put", "base", "revision 1", NOW)
    storage.write(audit.record, "t1", "policy.remove", "base", "a\0\ud800", NOW + 1)
    assert storage.read(audit.entries, 1000) == [
        entry(NOW + 1, "t1", "policy.remove", "a\\x00\\ud800"),
        entry(NOW, "uid 0", "policy.put", "revision 1"),
    ]
    assert len(storage.read(audit.entries, 1)) == 1


def test_a_change_that_was_undone_leaves_no_entry(storage: Storage) -> None:
    async def fails(connection: AsyncConnection) -> None:
        await policies.put(connection, "base", "text", "t1", NOW)
        await audit.record(connection, "t1", "policy.put", "base", "", NOW)
        raise KeyError

    with pytest.raises(KeyError):
        storage.write(fails)
    assert storage.read(audit.entries, 1000) == []
