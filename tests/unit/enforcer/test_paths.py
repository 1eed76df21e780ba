# SPDX-License-Identifier: Apache-2.0
"""A file is replaced whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from enforcer import paths


def test_the_text_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/file.json"
    for text in ("first", "second, with käse\n"):
        paths.write_atomically(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


def test_a_failed_write_leaves_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    paths.write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        paths.write_atomically(path, "\udc80")
    assert path.read_text() == "old"


def test_what_the_installation_ships_is_there() -> None:
    assert (paths.BPF_SOURCES / "shared.h").is_file()
    assert list(paths.SHIPPED_POLICIES.glob("*.yaml"))
