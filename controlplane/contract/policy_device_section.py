# SPDX-License-Identifier: Apache-2.0
"""The devices section of a policy: device nodes by name or number, and GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue

from . import policy_devices
from .policy_devices import DeviceNumbers, DeviceRule
from .policy_faults import expected
from .policy_node import PolicyNode, RawFault, each_of
from .policy_sections import Document, Section, place_all

Gpus = Literal["none", "all"] | tuple[int | str, ...]
"""None, all, or those named: by index as NVML counts (int), or by UUID in lower case."""


class DeviceEntry(PolicyNode):
    """Devices that may be opened: a name that Lictor knows, or numbers of our own choice."""

    internal: ClassVar[frozenset[str]] = frozenset({"name"})
    later: ClassVar[frozenset[str]] = frozenset({"access", "misc", "driver"})
    shape: ClassVar[str] = "a device's name or its numbers"

    name: Annotated[str, BeforeValidator(policy_devices.device_name)] | None = None
    char: Annotated[
        DeviceNumbers | None,
        PlainValidator(policy_devices.char_numbers),
        WithJsonSchema({"type": "string", "pattern": policy_devices.NUMBERS_PATTERN}),
    ] = None
    block: Annotated[
        DeviceNumbers | None,
        PlainValidator(policy_devices.block_numbers),
        WithJsonSchema({"type": "string", "pattern": policy_devices.NUMBERS_PATTERN}),
    ] = None

    @classmethod
    def expand(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def cross_faults(cls, value: Mapping[str, object], /) -> Iterator[RawFault]:
        if len({"char", "block"} & value.keys()) != 1:
            yield (), 'write one of char and block, for example {char: "10:229"}', value

    @classmethod
    def short_schema(cls) -> JsonSchemaValue:
        return {"enum": sorted(policy_devices.NAMED_DEVICES)}

    @property
    def rules(self) -> tuple[DeviceRule, ...]:
        """The device numbers that the entry covers."""
        if self.name is not None:
            return policy_devices.NAMED_DEVICES[self.name]
        if self.char is not None:
            return (DeviceRule("char", *self.char),)
        return (DeviceRule("block", *self.block),) if self.block is not None else ()

    def document(self) -> Document | str:
        if self.name is not None:
            return self.name
        return {"char": str(self.char)} if self.char is not None else {"block": str(self.block)}


def _gpus(value: object) -> Gpus:
    if value == "none" or value == "all":
        return "all" if value == "all" else "none"
    if not isinstance(value, list):
        raise expected("none, all or a list of indexes and UUIDs", value)
    chosen = each_of(value, policy_devices.gpu)
    if len(set(chosen)) != len(chosen):
        raise ValueError("names a GPU twice")
    return chosen


class DevicesSection(Section):
    """Which device nodes may be opened, by number whatever the node is called."""

    later: ClassVar[frozenset[str]] = frozenset({"deny", "mig", "limits"})

    allow: tuple[DeviceEntry, ...] = ()
    gpus: Annotated[
        Gpus,
        PlainValidator(_gpus),
        WithJsonSchema(policy_devices.GPUS_SCHEMA),
    ] = "none"

    @classmethod
    def cross_faults(cls, value: Mapping[str, object], /) -> Iterator[RawFault]:
        if not {"allow", "gpus"} & value.keys():
            yield (), "is empty: write any, none, or rules under allow and gpus", value

    @property
    def gpus_path(self) -> str:
        """The field path of `gpus`, for example `grants.trainer.devices.gpus`."""
        return f"{self.field_path}.gpus"

    def rules_document(self) -> Document:
        gpus = self.gpus if isinstance(self.gpus, str) else list(self.gpus)
        return {"allow": [entry.document() for entry in self.allow], "gpus": gpus}

    def place(self, path: str) -> None:
        super().place(path)
        place_all(self.allow, f"{path}.allow")
