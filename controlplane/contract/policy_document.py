# SPDX-License-Identifier: Apache-2.0
"""From the bytes of a policy to plain data: a strict subset of YAML, refused with line and cause.

Scalars follow YAML 1.2's core rules, not 1.1's: `no` and `195:0` are text, only `true` and `false`
are booleans; fractions, dates, tags, anchors and merges do not exist. Data is built from parser
events on an explicit stack, so that neither depth nor aliases cost more than the text weighs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

from .policy_faults import Fault, Location, PolicyError, path_text, shown

MAXIMUM_BYTES = 1 << 20
MAXIMUM_DEPTH = 16
# Eighteen digits fit 64 bits; longer runs of digits stay text, which no numeric field accepts.
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null")),
    "true": True,
    "false": False,
}
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

Container = dict[str, object] | list[object]


@dataclass
class Document:
    """Plain data (dict, list, str, int, bool, None) and the line of each field, counted from 1.

    faults: what is wrong and yet let the reading go on: fields written twice.
    """

    value: object = None
    lines: dict[Location, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line_of(self, location: Location) -> int | None:
        """The line of the field, or of its nearest parent that the text holds."""
        for length in range(len(location), -1, -1):
            line = self.lines.get(location[:length])
            if line is not None:
                return line
        return None


class _RefusedError(Exception):
    """Stops the reading of a text that cannot be read on; becomes a PolicyError."""

    def __init__(self, message: str, line: int | None = None, location: Location = ()) -> None:
        self.fault = Fault(path_text(location), message, line)


def read_document(text: str | bytes, source: str) -> Document:
    """Reads one policy's YAML (or JSON, which is YAML). Raises PolicyError, and nothing else."""
    try:
        builder = _Builder()
        text = _decoded(text)
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                builder.take(event)
        except yaml.MarkedYAMLError as error:
            raise _syntax_fault(error, text) from None
        except yaml.YAMLError as error:
            raise _RefusedError(f"is not YAML: {shown(str(error).splitlines()[0])}") from None
    except _RefusedError as refused:
        raise PolicyError(source, [refused.fault]) from None
    check_plain(builder.document, source)
    return builder.document


def check_plain(document: Document, source: str) -> None:
    """Refuses what JSON may hold and a policy may not: floats, deep nesting, unprintable text."""
    faults = list(document.faults)
    stack: list[tuple[Location, object]] = [((), document.value)]
    while stack:
        location, value = stack.pop()
        causes = _causes(value, len(location))
        faults += (Fault(path_text(location), each, document.line_of(location)) for each in causes)
        if causes:
            continue
        if isinstance(value, dict):
            stack += (((*location, key), item) for key, item in value.items())
        elif isinstance(value, list):
            stack += (((*location, index), item) for index, item in enumerate(value))
    if len(faults) > len(document.faults):
        raise PolicyError(source, sorted(faults, key=lambda fault: (fault.line or 0, fault.path)))


def _causes(value: object, depth: int) -> list[str]:
    if depth > MAXIMUM_DEPTH:
        return [f"is nested deeper than {MAXIMUM_DEPTH} levels"]
    if isinstance(value, dict):
        return [
            f"has a key that is not plain text: {shown(key)}"
            for key in value
            if not isinstance(key, str) or _unfit(key)
        ]
    if isinstance(value, str):
        return ["holds control characters or broken Unicode"] if _unfit(value) else []
    if value is None or isinstance(value, (list, int)):
        return []
    return [f"{shown(value)} has no place in a policy"]


def _syntax_fault(error: yaml.MarkedYAMLError, text: str) -> _RefusedError:
    message = f"is not YAML: {error.problem or error.context}"
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return _RefusedError(message)
    lines = text.splitlines()
    if mark.line < len(lines) and "\t" in lines[mark.line]:
        message += "; the line holds a tab: indent with spaces"
    return _RefusedError(message, mark.line + 1)


def _unfit(text: str) -> bool:
    """Control characters would reach terminals and logs; lone surrogates have no UTF-8 form."""
    if text.isprintable():
        return False
    return any(
        (character < " " and character not in "\n\t") or "\x7f" <= character <= "\x9f"
        or "\ud800" <= character <= "\udfff"
        for character in text
    )  # fmt: skip


def _decoded(given: str | bytes) -> str:
    if len(given) > MAXIMUM_BYTES:
        raise _RefusedError(f"is larger than {MAXIMUM_BYTES} bytes")
    text = given if isinstance(given, str) else _from_utf8(given)
    text = text.removeprefix("\ufeff")
    try:
        if len(text.encode("utf-8")) > MAXIMUM_BYTES:
            raise _RefusedError(f"is larger than {MAXIMUM_BYTES} bytes")
    except UnicodeEncodeError:
        raise _RefusedError("holds broken Unicode (a lone surrogate)") from None
    if not text.strip():
        raise _RefusedError("is empty")
    return text


def _from_utf8(given: bytes) -> str:
    try:
        return given.decode("utf-8")
    except UnicodeDecodeError as error:
        line = given.count(b"\n", 0, error.start) + 1
        raise _RefusedError(f"is not UTF-8: byte 0x{given[error.start]:02x}", line) from None


@dataclass
class _Open:
    """A mapping or list whose end has not been read yet; `key` is set between key and value."""

    location: Location
    container: Container
    key: str | None = None
    seen: dict[str, int] = field(default_factory=dict)

    def next_location(self) -> Location:
        if isinstance(self.container, list):
            return (*self.location, len(self.container))
        return (*self.location, self.key or "")


class _Builder:
    """Takes parser events one by one; afterwards holds the document."""

    def __init__(self) -> None:
        self.document = Document()
        self._stack: list[_Open] = []
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _RefusedError("holds several documents: write one policy per file", line)
        elif isinstance(event, yaml.AliasEvent):
            raise _RefusedError(
                f"YAML alias '*{event.anchor}' is refused: write the value out", line
            )
        elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            self._take_node(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()

    def _take_node(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int) -> None:
        if event.anchor is not None:
            raise _RefusedError(
                f"YAML anchor '&{event.anchor}' is refused: write the value out", line
            )
        if event.tag is not None:
            raise _RefusedError(f"YAML tag {shown(event.tag)} is refused: write plain values", line)
        parent = self._stack[-1] if self._stack else None
        if parent is not None and isinstance(parent.container, dict) and parent.key is None:
            self._take_key(parent, event, line)
            return
        location = parent.next_location() if parent is not None else ()
        if len(location) > MAXIMUM_DEPTH:
            raise _RefusedError(f"is nested deeper than {MAXIMUM_DEPTH} levels", line)
        value: object
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
        else:
            container: Container = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._stack.append(_Open(location, container))
            value = container
        self.document.lines.setdefault(location, line)
        if parent is None:
            self.document.value = value
        elif isinstance(parent.container, list):
            parent.container.append(value)
        elif parent.key is not None:
            parent.container[parent.key] = value
            parent.key = None

    def _take_key(self, parent: _Open, event: yaml.Event, line: int) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            raise _RefusedError("has a key that is not text", line, parent.location)
        # A key is always text: `no:` and `5:` are fields named so, and unknown ones.
        key = event.value
        if key == "<<" and event.implicit[0]:
            message = "YAML merge '<<' is refused: write the fields out"
            raise _RefusedError(message, line, parent.location)
        location = (*parent.location, key)
        if key in parent.seen:
            message = f"is written twice, first in line {parent.seen[key]}"
            self.document.faults.append(Fault(path_text(location), message, line))
        parent.seen.setdefault(key, line)
        self.document.lines.setdefault(location, line)
        parent.key = key


def _scalar(event: yaml.ScalarEvent) -> str | int | bool | None:
    text: str = event.value
    if not event.implicit[0]:
        return text  # quoted, or a block: text whatever it looks like
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else text
