# SPDX-License-Identifier: Apache-2.0
"""libbpf's C interface as far as Lictor uses it, through ctypes.

The long-lived agent must not import bcc (it would hold LLVM, over 100 MiB), so everything
that works on already loaded objects goes through here: pins, maps, links, iterators, BTF.
Every call that fails raises `OSError` naming the operation and its object.

Source: libbpf 1.1, headers bpf.h and btf.h (Debian package libbpf1).
"""

from __future__ import annotations

import ctypes
import functools
import os
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p

BPF_ANY = 0
BPF_NOEXIST = 1
BPF_EXIST = 2

# enum bpf_map_type
MAP_HASH = 1
MAP_ARRAY = 2
MAP_LRU_HASH = 9
MAP_LPM_TRIE = 11
MAP_SK_STORAGE = 24
MAP_RINGBUF = 27
MAP_TASK_STORAGE = 29

F_NO_PREALLOC = 1
F_CLONE = 1 << 9

# enum bpf_attach_type
CGROUP_INET_INGRESS = 0
CGROUP_INET_EGRESS = 1
CGROUP_UDP4_SENDMSG = 14
CGROUP_UDP6_SENDMSG = 15
TRACE_ITER = 28


class MapCreateOptions(ctypes.Structure):
    """struct bpf_map_create_opts."""

    _fields_ = [
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    ]


class MapInfo(ctypes.Structure):
    """The first fields of struct bpf_map_info; the kernel fills as much as there is room for."""

    _fields_ = [
        ("kind", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
    ]


class IteratorTask(ctypes.Structure):
    """The task member of union bpf_iter_link_info: which tasks an iterator visits."""

    _fields_ = [("tid", c_uint32), ("pid", c_uint32), ("pid_fd", c_uint32), ("pad", c_uint32)]


class LinkCreateOptions(ctypes.Structure):
    """struct bpf_link_create_opts, up to the iterator's parameters."""

    _fields_ = [
        ("sz", c_size_t),
        ("flags", c_uint32),
        ("iter_info", c_void_p),
        ("iter_info_len", c_uint32),
        ("target_btf_id", c_uint32),
        ("spare", ctypes.c_uint64 * 2),
    ]


@functools.cache
def library() -> ctypes.CDLL:
    """Load libbpf.so.1 once; OSError says how to get it."""
    try:
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise OSError(f"libbpf.so.1: {error}; install the package libbpf1") from None
    lib.libbpf_set_print(None)
    for name, result, arguments in (
        ("btf__load_vmlinux_btf", c_void_p, []),
        ("btf__find_by_name_kind", c_int, [c_void_p, c_char_p, c_uint32]),
        ("btf__type_by_id", c_void_p, [c_void_p, c_uint32]),
        ("btf__name_by_offset", c_char_p, [c_void_p, c_uint32]),
        ("btf__resolve_size", c_int64, [c_void_p, c_uint32]),
        ("btf__free", None, [c_void_p]),
        ("bpf_map_create", c_int, [c_int, c_char_p] + [c_uint32] * 3 + [c_void_p]),
        ("bpf_btf_load", c_int, [c_void_p, c_size_t, c_void_p]),
        ("bpf_obj_get", c_int, [c_char_p]),
        ("bpf_obj_pin", c_int, [c_int, c_char_p]),
        ("bpf_map_lookup_elem", c_int, [c_int, c_void_p, c_void_p]),
        ("bpf_map_update_elem", c_int, [c_int, c_void_p, c_void_p, ctypes.c_uint64]),
        ("bpf_map_delete_elem", c_int, [c_int, c_void_p]),
        ("bpf_map_get_next_key", c_int, [c_int, c_void_p, c_void_p]),
        ("bpf_link_create", c_int, [c_int, c_int, c_int, c_void_p]),
        ("bpf_iter_create", c_int, [c_int]),
        ("bpf_obj_get_info_by_fd", c_int, [c_int, c_void_p, c_void_p]),
    ):
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = arguments
    return lib


def checked(result: int, what: str) -> int:
    """Return a descriptor or zero, or raise OSError(errno, text, what)."""
    if result < 0:
        number = ctypes.get_errno() or -result
        raise OSError(number, os.strerror(number), what)
    return result


def open_pin(path: str) -> int:
    """Descriptor of the map, program or link pinned at `path`."""
    return checked(library().bpf_obj_get(path.encode()), path)


def pin(descriptor: int, path: str) -> None:
    """Pin a map, program or link at `path` (inside a bpf file system)."""
    checked(library().bpf_obj_pin(descriptor, path.encode()), path)


def create_map(
    kind: int, name: str, key_size: int, value_size: int, max_entries: int, flags: int
) -> int:
    """Create a map. Storage maps get the small BTF that the kernel demands of them."""
    options = MapCreateOptions(sz=ctypes.sizeof(MapCreateOptions), map_flags=flags)
    btf = -1
    if kind in (MAP_SK_STORAGE, MAP_TASK_STORAGE):
        btf = _storage_btf(value_size)
        options.btf_fd, options.btf_key_type_id, options.btf_value_type_id = btf, 1, 2
    try:
        result = library().bpf_map_create(
            kind, name.encode()[:15], key_size, value_size, max_entries, ctypes.byref(options)
        )
        return checked(result, f"map {name}")
    finally:
        if btf >= 0:
            os.close(btf)


def _storage_btf(value_size: int) -> int:
    """Type 1: a 32-bit int (the key). Type 2: an opaque struct of `value_size` bytes.

    Source: Documentation/bpf/btf.rst; map_check_btf in kernel/bpf/bpf_local_storage.c.
    """
    strings = b"\0int\0value\0"
    kind_int, kind_struct = 1 << 24, 4 << 24
    types = b"".join(
        number.to_bytes(4, "little") for number in (1, kind_int, 4, 32, 5, kind_struct, value_size)
    )
    header = (
        (0xEB9F).to_bytes(2, "little")
        + bytes([1, 0])
        + b"".join(
            number.to_bytes(4, "little") for number in (24, 0, len(types), len(types), len(strings))
        )
    )
    blob = header + types + strings
    buffer = ctypes.create_string_buffer(blob, len(blob))
    return checked(library().bpf_btf_load(buffer, len(blob), None), "BTF of a storage map")


def map_info(descriptor: int) -> MapInfo:
    """What kind of map a descriptor is."""
    info = MapInfo()
    size = c_uint32(ctypes.sizeof(info))
    result = library().bpf_obj_get_info_by_fd(descriptor, ctypes.byref(info), ctypes.byref(size))
    checked(result, f"map descriptor {descriptor}")
    return info


def create_link(program: int, target: int, attach_type: int) -> int:
    """Attach a cgroup program to the cgroup opened as `target`; closing or unpinning ends it."""
    what = f"link of program {program} to descriptor {target}"
    return checked(library().bpf_link_create(program, target, attach_type, None), what)


def create_task_iterator(program: int, tid: int) -> int:
    """Open a task iterator over one thread (`tid`) or over all threads (`tid` 0)."""
    options = LinkCreateOptions(sz=ctypes.sizeof(LinkCreateOptions))
    task = IteratorTask(tid=tid)
    if tid:
        options.iter_info = ctypes.cast(ctypes.byref(task), c_void_p)
        options.iter_info_len = ctypes.sizeof(task)
    result = library().bpf_link_create(program, 0, TRACE_ITER, ctypes.byref(options))
    link = checked(result, f"task iterator over thread {tid}")
    try:
        return checked(library().bpf_iter_create(link), "task iterator")
    finally:
        os.close(link)
