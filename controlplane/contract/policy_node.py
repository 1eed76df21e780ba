# SPDX-License-Identifier: Apache-2.0
"""The base of every part of a policy: gathers all faults, tells unknown fields from later ones."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError

from .policy_faults import Location, shown

Item = TypeVar("Item")

RawFault = tuple[Location, str, object]
"""Where (below the part), the message, the value that is at fault."""


class PolicyNode(BaseModel):
    """A part of a policy. Frozen, no field beyond its own, every fault reported at once.

    Each class says by `later` which fields the language will get: a policy that uses one is told
    so, rather than that the field is unknown. `internal` fields are ours and no input may set them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    later: ClassVar[frozenset[str]] = frozenset()
    internal: ClassVar[frozenset[str]] = frozenset()
    shape: ClassVar[str] = "a mapping"

    # Where the part stands in its policy, for example `egress.allow[2]`; set once, after parsing.
    _field_path: str = PrivateAttr(default="")

    @property
    def field_path(self) -> str:
        """The name by which events and errors cite this part, for example `egress.allow[2]`."""
        return self._field_path

    @classmethod
    def expand(cls, value: object) -> object:
        """The mapping that a short form stands for; other values as they are."""
        return value

    @classmethod
    def short_schema(cls) -> JsonSchemaValue | None:
        """The JSON Schema of the short form, where the part has one."""
        return None

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        for name in cls.internal:
            schema["properties"].pop(name, None)
        required = [name for name in schema.get("required", ()) if name not in cls.internal]
        if "required" in schema:
            schema["required"] = required
        short = cls.short_schema()
        if short is not None:
            long = dict(schema)
            schema.clear()
            schema["anyOf"] = [short, long]
        return schema

    @classmethod
    def cross_faults(cls, _value: Mapping[str, object], /) -> Iterator[RawFault]:
        """Faults that more than one field makes; sees the input before its fields are checked."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _gather(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, cls):
            return value
        faults: list[RawFault] = []
        if isinstance(value, Mapping):
            accepted = {
                field.alias or name
                for name, field in cls.model_fields.items()
                if name not in cls.internal
            }
            faults += (cls._field_fault(key, accepted) for key in value if key not in accepted)
            faults += cls.cross_faults(value)
            known = {key: item for key, item in value.items() if key in accepted}
            value = cls.expand(known)
        else:
            value = cls.expand(value)
        details = [_detail(*fault) for fault in faults]
        node = None
        try:
            node = handler(value)
        except ValidationError as error:
            details += [cls._reworded(each) for each in error.errors(include_url=False)]
        if node is None or details:
            raise ValidationError.from_exception_data(cls.__name__, details)
        return node

    @classmethod
    def _field_fault(cls, key: str, accepted: set[str]) -> RawFault:
        if key in cls.later:
            return (key,), "is not built yet: it comes with a later version", key
        near = difflib.get_close_matches(key, accepted, n=1)
        known = ", ".join(sorted(accepted))
        hint = f"; did you mean {near[0]!r}?" if near else f" (known: {known})"
        return (key,), f"unknown field{hint}", key

    @classmethod
    def _reworded(cls, error: ErrorDetails) -> InitErrorDetails:
        """pydantic's report in the words of the field; reports from parts below pass unchanged."""
        value, context = error["input"], error.get("ctx", {})
        match error["type"]:
            case "policy":
                message = error["msg"]
            case "value_error":
                message = str(context["error"])
            case "missing":
                message = "is missing"
            case "literal_error":
                message = f"{shown(value)} is not {context['expected']}"
            case "model_type" | "model_attributes_type":
                message = f"expected {cls.shape}, got {shown(value)}"
            case "tuple_type" | "list_type":
                message = f"expected a list, got {shown(value)}"
            case "dict_type" | "mapping_type":
                message = f"expected a mapping, got {shown(value)}"
            case "too_long":
                message = f"has {len(value)} entries, the limit is {context['max_length']}"
            case _:
                message = error["msg"]
        return _detail(error["loc"], message, value)


def _detail(location: Location, message: str, value: object) -> InitErrorDetails:
    # The text goes in through the context, because a template would read braces in it as fields.
    kind = PydanticCustomError("policy", "{text}", {"text": message})
    return InitErrorDetails(type=kind, loc=location, input=value)


def each_of(values: Sequence[object], parse: Callable[[object], Item]) -> tuple[Item, ...]:
    """Parses every entry of a list, and raises the faults of all of them at once."""
    items: list[Item] = []
    details: list[InitErrorDetails] = []
    for index, value in enumerate(values):
        try:
            items.append(parse(value))
        except ValueError as error:
            details.append(_detail((index,), str(error), value))
    if details:
        raise ValidationError.from_exception_data("list", details)
    return tuple(items)
