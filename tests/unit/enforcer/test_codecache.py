# SPDX-License-Identifier: Apache-2.0
"""A kept file is used only if it is whole and nobody else's; anything else means compiling."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger

from enforcer import codecache
from enforcer.bytecode import Bytecode

CODE = Bytecode("GPL", 0x60100, {"a": bytes(range(256)), "b": b"\x95" + bytes(7)})
KEY = codecache.key(["text", "-DX"])
FUNCTIONS = ["a", "b"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache/programs"


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(sink)


@pytest.fixture
def kept(folder: Path) -> Path:
    codecache.write(folder, KEY, CODE)
    return folder / f"{KEY}.json"


def test_what_was_kept_comes_back(kept: Path, folder: Path, said: list[str]) -> None:
    assert codecache.read(folder, KEY, FUNCTIONS) == CODE
    assert said == []


def test_only_its_user_can_enter_and_read(kept: Path, folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert kept.stat().st_mode & 0o777 == 0o600
    assert list(folder.iterdir()) == [kept]


@pytest.mark.parametrize("parts", [["text"], ["text-DX"], ["text-", "DX"], ["text", "-DX", ""]])
def test_a_key_is_of_all_parts_and_their_bounds(parts: list[str]) -> None:
    assert codecache.key(parts) != KEY
    assert codecache.key([b"text", "-DX"]) == KEY


def test_another_format_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecache, "FORMAT", codecache.FORMAT + 1)
    assert codecache.key(["text", "-DX"]) != KEY


def test_a_miss_is_silent(folder: Path, said: list[str]) -> None:
    assert codecache.read(folder, KEY, FUNCTIONS) is None
    codecache.write(folder, KEY, CODE)
    assert codecache.read(folder, codecache.key(["other"]), FUNCTIONS) is None
    assert said == []


def _swap_digest(path: Path) -> None:
    digest, content = path.read_bytes().split(b"\n", 1)
    path.write_bytes(digest[::-1] + b"\n" + content)


def _change_content(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"GPL"', b'"MIT"'))


def _signed(content: bytes) -> Callable[[Path], None]:
    """Content that nobody writes, with the digest that belongs to it."""

    def write(path: Path) -> None:
        path.write_bytes(codecache._digest(content).encode() + b"\n" + content)

    return write


def _replace_by_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "its content has another digest"),
    "cut": (lambda path: os.truncate(path, 100), "its content has another digest"),
    "digest": (_swap_digest, "its content has another digest"),
    "content": (_change_content, "its content has another digest"),
    "binary": (lambda path: path.write_bytes(b"\xff\n\xff"), "its content has another digest"),
    "no object": (_signed(b"[]"), "it does not parse"),
    "a field less": (_signed(b'{"functions": {}}'), "it does not parse"),
    "a number": (_signed(b'{"functions": {"a": 1}}'), "it does not parse"),
    "no JSON": (_signed(b"{"), "Expecting property name"),
    "no base64": (_signed(b'{"functions": {"a": "!"}}'), "Only base64 data is allowed"),
    "readable": (lambda path: path.chmod(0o640), "its mode is 640"),
    "link": (_replace_by_link, "Too many levels of symbolic links"),
    "pipe": (_replace_by_pipe, "it is of another kind"),
    "folder": (lambda path: path.parent.chmod(0o755), "its mode is 755"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_odd_is_said_once_and_not_used(
    damage: str, kept: Path, folder: Path, said: list[str]
) -> None:
    change, cause = DAMAGES[damage]
    change(kept)
    assert codecache.read(folder, KEY, FUNCTIONS) is None
    (line,) = said
    assert line.startswith(f"{kept}: not used, compiling anew: ")
    assert cause in line


@pytest.mark.parametrize("foreign", ["file", "folder"])
def test_what_another_user_owns_is_not_used(
    foreign: str, kept: Path, folder: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both are made by this user; only the check sees another one.
    name = "fstat" if foreign == "file" else "lstat"
    real = getattr(os, name)

    def status(target: object) -> os.stat_result:
        values = list(real(target))
        values[4] = 12345
        return os.stat_result(values)

    monkeypatch.setattr(os, name, status)
    assert codecache.read(folder, KEY, FUNCTIONS) is None
    (line,) = said
    assert line.endswith("it belongs to user 12345")


def test_a_file_that_lacks_a_program_is_not_used(kept: Path, folder: Path, said: list[str]) -> None:
    assert codecache.read(folder, KEY, [*FUNCTIONS, "c"]) is None
    assert said == [f"{kept}: not used, compiling anew: lacks c"]


@pytest.mark.parametrize("damage", ["cut", "readable", "link", "content"])
def test_a_damaged_file_is_made_anew(damage: str, kept: Path, folder: Path) -> None:
    DAMAGES[damage][0](kept)
    codecache.write(folder, KEY, CODE)
    assert codecache.read(folder, KEY, FUNCTIONS) == CODE
    assert kept.stat().st_mode & 0o777 == 0o600


def test_the_newest_few_are_kept(folder: Path) -> None:
    keys = [codecache.key([str(number)]) for number in range(codecache.KEPT_FILES + 2)]
    for age, key in enumerate(reversed(keys)):
        codecache.write(folder, key, CODE)
        if (path := folder / f"{key}.json").exists():
            os.utime(path, (1e9 - age, 1e9 - age))
    (folder / ".half-written.123").write_text("")
    codecache.write(folder, keys[-1], CODE)
    found = {path.stem for path in folder.iterdir()}
    assert len(found) == codecache.KEPT_FILES
    assert keys[-1] in found


def test_a_folder_that_cannot_be_written_is_said_and_no_more(
    tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    codecache.write(tmp_path / "file/programs", KEY, CODE)
    (line,) = said
    assert "not kept, the next start compiles again" in line


def test_a_folder_that_others_can_enter_is_not_written(folder: Path, said: list[str]) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    codecache.write(folder, KEY, CODE)
    assert list(folder.iterdir()) == []
    assert "its mode is 777" in said[0]
