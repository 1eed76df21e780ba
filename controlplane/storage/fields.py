# SPDX-License-Identifier: Apache-2.0
"""Values out of what a node sent: checked one by one, refused by their place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

LARGEST_INTEGER = (1 << 63) - 1


class IngestError(ValueError):
    """Something that a node sent and that cannot be taken: `PLACE: fault`.

    place: as `events[3].subject.pid`; message: the fault without the place.
    """

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place
        self.message = message


class Fields:
    """A mapping and where it stands."""

    __slots__ = ("_place", "_values")

    def __init__(self, values: Any, place: str) -> None:
        if not isinstance(values, dict):
            raise IngestError(place, "is not a mapping")
        self._values: Mapping[str, Any] = values
        self._place = place

    def fault(self, name: str, message: str) -> IngestError:
        """What is wrong with a field."""
        return IngestError(f"{self._place}.{name}", message)

    def fields(self, name: str) -> Fields:
        """A mapping within."""
        return Fields(self._values.get(name), f"{self._place}.{name}")

    def optional_fields(self, name: str) -> Fields | None:
        """A mapping within, or None."""
        return None if self._values.get(name) is None else self.fields(name)

    def require(self, name: str, wanted: object) -> None:
        """Refuse any other value."""
        if self._values.get(name) != wanted:
            raise self.fault(name, f"{self._values.get(name)!r:.80} is not {wanted!r}")

    def one_of(self, name: str, choices: Sequence[str]) -> str:
        """One of some words."""
        value = self.text(name)
        if value not in choices:
            raise self.fault(name, f"{value!r:.80} is not one of {', '.join(choices)}")
        return value

    def text(self, name: str) -> str:
        """Text."""
        value = self._values.get(name)
        if not isinstance(value, str):
            raise self.fault(name, "is missing or no text")
        return value

    def optional_text(self, name: str) -> str | None:
        """Text, or None."""
        return None if self._values.get(name) is None else self.text(name)

    def integer(self, name: str, lowest: int = 0) -> int:
        """An integer that a column can hold."""
        value = self._values.get(name)
        if type(value) is not int or not lowest <= value <= LARGEST_INTEGER:
            raise self.fault(
                name, f"{value!r:.80} is not an integer from {lowest} to {LARGEST_INTEGER}"
            )
        return value

    def optional_integer(self, name: str, lowest: int = 0) -> int | None:
        """An integer, or None."""
        return None if self._values.get(name) is None else self.integer(name, lowest)

    def time(self, name: str) -> float:
        """Unix seconds."""
        value = self._values.get(name)
        if type(value) is int or (type(value) is float and math.isfinite(value)):
            return float(value)
        raise self.fault(name, f"{value!r:.80} is not a time in seconds")
