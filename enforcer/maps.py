# SPDX-License-Identifier: Apache-2.0
"""Every BPF map: its type, key, value and size, and how it is pinned, reopened and accessed.

Maps are made here and not by bcc, so that they outlive a program set: an upgrade loads new
programs onto the same maps. `tags` lies outside the versioned folder because its layout is
fixed for good; the others are remade when `LAYOUT_VERSION` changes.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from ctypes import Structure, c_uint32, c_uint64
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from enforcer import abi, libbpf

PIN_ROOT = Path("/sys/fs/bpf/lictor")

Value = TypeVar("Value", bound=Any)


@dataclass(frozen=True)
class MapSpec:
    """One map: kind is libbpf's MAP_* number; rings and storages have no C key."""

    kind: int
    key: Any
    value: Any
    max_entries: int
    flags: int = 0


def _array(value: Any, entries: int) -> MapSpec:
    return MapSpec(libbpf.MAP_ARRAY, c_uint32, value, entries)


def _hash(key: Any, value: Any, entries: int) -> MapSpec:
    return MapSpec(libbpf.MAP_HASH, key, value, entries)


def _trie(key: Any, value: Any, entries: int) -> MapSpec:
    return MapSpec(libbpf.MAP_LPM_TRIE, key, value, entries, libbpf.F_NO_PREALLOC)


def _storage(kind: int, value: Any, flags: int = 0) -> MapSpec:
    return MapSpec(kind, c_uint32, value, 0, libbpf.F_NO_PREALLOC | flags)


_COUNTERS = abi.KIND_COUNT * abi.DECISION_COUNT * abi.REASON_COUNT

MAPS: dict[str, MapSpec] = {
    "control": _array(abi.Control, 1),
    "tags": _storage(libbpf.MAP_TASK_STORAGE, abi.Tag),
    "socket_tags": _storage(libbpf.MAP_SK_STORAGE, abi.SocketTag, libbpf.F_CLONE),
    "exec_scratch": _storage(libbpf.MAP_TASK_STORAGE, abi.ExecScratch),
    "exec_scratch_long": _storage(libbpf.MAP_TASK_STORAGE, abi.ExecScratchLong),
    "scopes": _hash(c_uint64, abi.Scope, abi.MAX_SCOPES),
    "scope_filter": _array(c_uint64, abi.FILTER_WORDS),
    "peers": MapSpec(libbpf.MAP_LRU_HASH, abi.PeerKey, abi.Peer, abi.MAX_PEERS),
    "selectors": _trie(abi.SelectorKey, abi.Selector, abi.MAX_SELECTORS),
    "policies": _array(abi.Policy, abi.MAX_POLICIES),
    "rulesets": _array(abi.Ruleset, abi.MAX_RULESETS),
    "destinations": _trie(abi.DestinationKey, abi.Destination, abi.MAX_DESTINATIONS),
    "paths": _trie(abi.PathKey, abi.PathVerdict, abi.MAX_PATHS),
    "unix_names": _trie(abi.UnixKey, abi.PathVerdict, abi.MAX_UNIX_NAMES),
    "devices": _hash(abi.DeviceKey, abi.DeviceVerdict, abi.MAX_DEVICES),
    "thread_calls": _hash(c_uint32, abi.ThreadCall, abi.MAX_THREAD_CALLS),
    "homes": _hash(c_uint64, abi.Home, abi.MAX_WORKLOADS),
    "refused_reads": MapSpec(
        libbpf.MAP_LRU_HASH, abi.RefusedRead, abi.RefusedStarts, abi.MAX_REFUSED_READS
    ),
    "roots": _hash(abi.RootKey, abi.Root, abi.MAX_ROOTS),
    "workloads": _hash(c_uint64, abi.Workload, abi.MAX_WORKLOADS),
    "consumed": _hash(c_uint64, c_uint64, abi.MAX_WORKLOADS),
    "exemptions": _hash(c_uint64, abi.Exemption, abi.MAX_EXEMPTIONS),
    "counters": _array(c_uint64, _COUNTERS),
    "denials": MapSpec(libbpf.MAP_RINGBUF, None, None, abi.DENIAL_RING_SIZE),
    "activity": MapSpec(libbpf.MAP_RINGBUF, None, None, abi.ACTIVITY_RING_SIZE),
    "iterator": _array(abi.IteratorCommand, 1),
}


def pin_path(name: str) -> Path:
    """Where the map `name` is pinned."""
    return PIN_ROOT / name if name == "tags" else PIN_ROOT / f"maps-{abi.LAYOUT_VERSION}" / name


def size_of(ctype: Any) -> int:
    """Bytes of a key or value type; 0 for none."""
    return 0 if ctype is None else ctypes.sizeof(ctype)


def open_or_create(name: str) -> int:
    """Descriptor of the pinned map, made and pinned first where it is missing.

    Raises ValueError for a pin of another shape: it was made by other code under the same
    layout version, and using it would misread memory.
    """
    path = pin_path(name)
    spec = MAPS[name]
    if path.exists():
        descriptor = libbpf.open_pin(str(path))
        info = libbpf.map_info(descriptor)
        found = (info.kind, info.key_size, info.value_size, info.max_entries)
        wanted = (spec.kind, size_of(spec.key), size_of(spec.value), spec.max_entries)
        if found != wanted:
            os.close(descriptor)
            raise ValueError(f"{path}: is a map of another shape, {found} instead of {wanted}")
        return descriptor
    descriptor = libbpf.create_map(
        spec.kind, name, size_of(spec.key), size_of(spec.value), spec.max_entries, spec.flags
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    libbpf.pin(descriptor, str(path))
    return descriptor


class Table(Generic[Value]):
    """A hash, array or trie seen from user space; keys and values are ctypes of the spec."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        self._spec = MAPS[name]
        self._lib = libbpf.library()

    def _key(self, key: Any) -> Any:
        return self._spec.key(key) if isinstance(key, int) else key

    def get(self, key: Any) -> Value | None:
        """A copy of the value, None where there is none."""
        key = self._key(key)
        value = self._spec.value()
        result = self._lib.bpf_map_lookup_elem(
            self.descriptor, ctypes.byref(key), ctypes.byref(value)
        )
        if result == -2:
            return None
        libbpf.checked(result, f"map {self.name}: lookup")
        found: Any = value.value if isinstance(value, c_uint64) else value
        copy: Value = found
        return copy

    def put(self, key: Any, value: Any) -> None:
        """Insert or replace. Raises OSError (ENOSPC, E2BIG) naming the map when it is full."""
        key = self._key(key)
        if isinstance(value, int):
            value = self._spec.value(value)
        result = self._lib.bpf_map_update_elem(
            self.descriptor, ctypes.byref(key), ctypes.byref(value), libbpf.BPF_ANY
        )
        libbpf.checked(result, f"map {self.name}: update")

    def replace(self, key: Any, value: Any) -> bool:
        """Replace what is there; False where there is nothing (any more)."""
        key = self._key(key)
        result = self._lib.bpf_map_update_elem(
            self.descriptor, ctypes.byref(key), ctypes.byref(value), libbpf.BPF_EXIST
        )
        if result == -2:
            return False
        libbpf.checked(result, f"map {self.name}: update")
        return True

    def delete(self, key: Any) -> bool:
        """Remove; False where there was nothing."""
        key = self._key(key)
        result = self._lib.bpf_map_delete_elem(self.descriptor, ctypes.byref(key))
        if result == -2:
            return False
        libbpf.checked(result, f"map {self.name}: delete")
        return True

    def keys(self) -> Iterator[Any]:
        """Every key; ints for integer keys. Safe against deletion of the key just given."""
        keys: list[Any] = []
        previous: Any = None
        while True:
            key = self._spec.key()
            result = self._lib.bpf_map_get_next_key(
                self.descriptor,
                None if previous is None else ctypes.byref(previous),
                ctypes.byref(key),
            )
            if result < 0:
                break
            keys.append(key if isinstance(key, Structure) else key.value)
            previous = key
        yield from keys

    def items(self) -> Iterator[tuple[Any, Value]]:
        """Every key with its value; what is deleted meanwhile is left out."""
        for key in list(self.keys()):
            value = self.get(key)
            if value is not None:
                yield key, value


class Maps:
    """Descriptors of all maps, and tables over those that user space reads or writes."""

    def __init__(self, descriptors: dict[str, int]) -> None:
        self.descriptors = descriptors
        self.control: Table[abi.Control] = Table("control", descriptors["control"])
        self.scopes: Table[abi.Scope] = Table("scopes", descriptors["scopes"])
        self.scope_filter: Table[int] = Table("scope_filter", descriptors["scope_filter"])
        self.selectors: Table[abi.Selector] = Table("selectors", descriptors["selectors"])
        self.policies: Table[abi.Policy] = Table("policies", descriptors["policies"])
        self.rulesets: Table[abi.Ruleset] = Table("rulesets", descriptors["rulesets"])
        self.destinations: Table[abi.Destination] = Table(
            "destinations", descriptors["destinations"]
        )
        self.paths: Table[abi.PathVerdict] = Table("paths", descriptors["paths"])
        self.unix_names: Table[abi.PathVerdict] = Table("unix_names", descriptors["unix_names"])
        self.devices: Table[abi.DeviceVerdict] = Table("devices", descriptors["devices"])
        self.thread_calls: Table[abi.ThreadCall] = Table(
            "thread_calls", descriptors["thread_calls"]
        )
        self.homes: Table[abi.Home] = Table("homes", descriptors["homes"])
        self.roots: Table[abi.Root] = Table("roots", descriptors["roots"])
        self.workloads: Table[abi.Workload] = Table("workloads", descriptors["workloads"])
        self.consumed: Table[int] = Table("consumed", descriptors["consumed"])
        self.exemptions: Table[abi.Exemption] = Table("exemptions", descriptors["exemptions"])
        self.counters: Table[int] = Table("counters", descriptors["counters"])
        self.iterator: Table[abi.IteratorCommand] = Table("iterator", descriptors["iterator"])

    @classmethod
    def create(cls) -> Maps:
        """Open every pinned map, making those that are missing (the loader's way)."""
        PIN_ROOT.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls({name: open_or_create(name) for name in MAPS})

    @classmethod
    def open(cls) -> Maps:
        """Open the pinned maps. Raises FileNotFoundError if Lictor is not loaded."""
        if not pin_path("control").exists():
            raise FileNotFoundError(f"{pin_path('control')}: Lictor is not loaded (lictor up)")
        return cls({name: libbpf.open_pin(str(pin_path(name))) for name in MAPS})

    def close(self) -> None:
        """Close the descriptors; the pins keep the maps."""
        for descriptor in self.descriptors.values():
            os.close(descriptor)
