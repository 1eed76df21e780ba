# SPDX-License-Identifier: Apache-2.0
"""User space's side of bpf/shared.h: numbers, map layouts and the event layout.

What each field means is said there, once. tests/unit/bpf/test_layouts.py compares every
number, size and offset with what a C compiler makes of the header.
"""

from __future__ import annotations

import enum
from ctypes import Structure, Union, c_char, c_uint8, c_uint16, c_uint32, c_uint64

LAYOUT_VERSION = 3
EVENT_VERSION = 1
MAX_POLICIES = 1024
MAX_RULESETS = 1024
MAX_SCOPES = 65536
MAX_WORKLOADS = 16384
MAX_DESTINATIONS = 65536
MAX_PATHS = 65536
MAX_DEVICES = 65536
MAX_UNIX_NAMES = 65536
MAX_THREAD_CALLS = 16384
MAX_SELECTORS = 4096
MAX_EXEMPTIONS = 1024
MAX_REFUSED_READS = 4096
MAX_ROOTS = 16384
MAX_PORT_RANGES = 32
RULE_PATH_SIZE = 244
EVENT_PATH_SIZE = 4608
SHORT_PATH_SIZE = 512
UNIX_NAME_SIZE = 128
NAME_ROOM = 256
FILTER_WORDS = 4096
DENIAL_RING_SIZE = 4 << 20
ACTIVITY_RING_SIZE = 8 << 20
DENIAL_QUOTA = 256 << 10
ANY_MINOR = 0xFFFFFFFF
NO_RULE = 0xFFFF
GRANT_BASE = 1
FLOW_KEYS = 9
INGRESS_RULES = 0x80000000
MAX_PEERS = 65536


class EventKind(enum.IntEnum):
    """enum event_kind."""

    CONNECT = 1
    SEND = 2
    SOCKET = 3
    EXEC = 4
    DEVICE = 5
    ESCAPE = 6
    FORK = 7
    WORKLOAD = 8
    WORKLOAD_END = 9
    INBOUND = 10
    UNIX = 11
    MAPPING = 12
    GUARD = 13


KIND_COUNT = 14


class Decision(enum.IntEnum):
    """enum decision."""

    ALLOWED = 0
    DENIED = 1
    AUDITED = 2


DECISION_COUNT = 3


class Reason(enum.IntEnum):
    """enum reason."""

    NONE = 0
    RULE = 1
    ANY = 2
    LOOPBACK = 3
    NOT_ALLOWED = 4
    PORT = 5
    ESCAPED = 6
    NO_POLICY = 7
    NO_STORAGE = 8
    UNREADABLE = 9
    FAMILY = 10
    UNARMED = 11
    CHANGED = 12
    MOUNT = 13
    OPTIONS = 14
    GUARD = 15
    FOREIGN = 16


REASON_COUNT = 17


class Section(enum.IntEnum):
    """enum section."""

    EGRESS = 0
    EXEC = 1
    DEVICES = 2
    INGRESS = 3
    UNIX = 4


SECTION_COUNT = 5


class Guard(enum.IntEnum):
    """enum guard."""

    TRACE = 0
    SIGNAL = 1
    MOUNT = 2
    KERNEL = 3
    NETWORK = 4
    DESCRIPTORS = 5
    CGROUPS = 6
    PINS = 7


GUARD_COUNT = 8


class Operation(enum.IntEnum):
    """enum operation."""

    ATTACH = 1
    READ = 2
    TRACEME = 3
    SIGNAL = 4
    MOUNT = 5
    REMOUNT = 6
    UNMOUNT = 7
    MOVE_MOUNT = 8
    PIVOT_ROOT = 9
    MODULE_REQUEST = 10
    BPF = 11
    PERF = 12
    CAPABILITY = 13
    WRITE = 14
    REMOVE = 15
    RENAME = 16
    RECEIVE = 17
    INHERIT = 18


OPERATION_COUNT = 19


class Mode(enum.IntEnum):
    """enum mode."""

    AUDIT = 1
    ENFORCE = 2
    RELEASED = 3


class TagFlag(enum.IntFlag):
    """enum tag_flag."""

    AFTER = 1
    ESCAPED = 2
    ENTERING = 8
    READ_REFUSED = 16
    PERFMON_REFUSED = 32
    EXEMPT = 64


class ScopeFlag(enum.IntFlag):
    """enum scope_flag."""

    CHILDREN = 1
    ARMED = 2
    SETTLED = 4


class SelectorFlag(enum.IntFlag):
    """enum selector_flag."""

    SELF = 1
    CHILDREN = 2
    CHILD = 4


class IteratorOperation(enum.IntEnum):
    """enum iterator_operation."""

    LIST = 1
    RESOLVE = 2
    CALL = 3
    AFTER = 4
    FILTER = 5


class Control(Structure):
    _fields_ = [
        ("layout", c_uint32),
        ("owner", c_uint32),
        ("host_netns", c_uint64),
        ("overflow", c_uint64),
        ("flow_keys", c_uint64 * FLOW_KEYS),
        ("tai_offset", c_uint64),
        ("spare", c_uint32 * 8),
    ]


class Tag(Structure):
    _fields_ = [
        ("cgroup", c_uint64),
        ("workload", c_uint64),
        ("call", c_uint64),
        ("policy", c_uint32),
        ("grants", c_uint32),
        ("flags", c_uint32),
        ("spare", c_uint32 * 9),
    ]


class SocketTag(Structure):
    _fields_ = [
        ("workload", c_uint64),
        ("call", c_uint64),
        ("cgroup", c_uint64),
        ("network_namespace", c_uint64),
        ("listener", c_uint64),
        ("allowed", c_uint64),
        ("refused", c_uint64),
        ("start", c_uint64),
        ("pid", c_uint32),
        ("tid", c_uint32),
        ("uid", c_uint32),
        ("parent", c_uint32),
        ("comm", c_char * 16),
        ("policy", c_uint32),
        ("grants", c_uint32),
        ("flags", c_uint32),
        ("spare", c_uint32 * 5),
    ]


class PeerKey(Structure):
    _fields_ = [
        ("socket", c_uint64),
        ("address", c_uint8 * 16),
        ("port", c_uint16),
        ("protocol", c_uint16),
        ("spare", c_uint32),
    ]


class Peer(Structure):
    _fields_ = [
        ("refused", c_uint32),
        ("exempt", c_uint32),
        ("revision", c_uint32),
        ("spare", c_uint32),
    ]


class Scope(Structure):
    _fields_ = [
        ("workload", c_uint64),
        ("parent", c_uint64),
        ("policy", c_uint32),
        ("grants", c_uint32),
        ("flags", c_uint32),
        ("spare", c_uint32),
    ]


class SelectorKey(Structure):
    _fields_ = [
        ("prefix_bits", c_uint32),
        ("path", c_char * RULE_PATH_SIZE),
    ]


class Selector(Structure):
    _fields_ = [
        ("policy", c_uint32),
        ("flags", c_uint32),
    ]


class Policy(Structure):
    _fields_ = [
        ("ruleset", c_uint32),
        ("spare", c_uint32),
    ]


class Ruleset(Structure):
    _fields_ = [
        ("policy", c_uint32),
        ("revision", c_uint32),
        ("mode", c_uint32),
        ("error", c_uint32),
        ("any", c_uint32 * SECTION_COUNT),
        ("loopback", c_uint32),
        ("any_rule", c_uint16 * SECTION_COUNT),
        ("loopback_rule", c_uint16),
        ("guards_open", c_uint32),
        ("mappings_any", c_uint32),
        ("spare", c_uint32 * 5),
    ]


class DestinationKey(Structure):
    _fields_ = [
        ("prefix_bits", c_uint32),
        ("ruleset", c_uint32),
        ("address", c_uint8 * 16),
    ]


class PortRange(Structure):
    _fields_ = [
        ("low", c_uint16),
        ("high", c_uint16),
        ("rule", c_uint16),
        ("protocol", c_uint8),
        ("spare", c_uint8),
        ("grants", c_uint32),
    ]


class Destination(Structure):
    _fields_ = [
        ("count", c_uint32),
        ("ranges", PortRange * MAX_PORT_RANGES),
    ]


class PathKey(Structure):
    _fields_ = [
        ("prefix_bits", c_uint32),
        ("ruleset", c_uint32),
        ("path", c_char * RULE_PATH_SIZE),
    ]


class PathVerdict(Structure):
    _fields_ = [
        ("allow", c_uint32),
        ("unchanged", c_uint32),
        ("base_rule", c_uint16),
        ("grant_rule", c_uint16),
    ]


class UnixKey(Structure):
    _fields_ = [
        ("prefix_bits", c_uint32),
        ("ruleset", c_uint32),
        ("name", c_char * UNIX_NAME_SIZE),
    ]


class DeviceKey(Structure):
    _fields_ = [
        ("ruleset", c_uint32),
        ("block", c_uint32),
        ("major", c_uint32),
        ("minor", c_uint32),
    ]


class DeviceVerdict(Structure):
    _fields_ = [
        ("allow", c_uint32),
        ("base_rule", c_uint16),
        ("grant_rule", c_uint16),
    ]


class ThreadCall(Structure):
    _fields_ = [
        ("call", c_uint64),
        ("start", c_uint64),
    ]


class Home(Structure):
    _fields_ = [
        ("mount_namespace", c_uint64),
        ("user_namespace", c_uint64),
        ("network_namespace", c_uint64),
        ("root_mount", c_uint64),
        ("root_dentry", c_uint64),
        ("sealed", c_uint64),
        ("spare", c_uint64 * 2),
    ]


class RefusedRead(Structure):
    _fields_ = [
        ("reader", c_uint32),
        ("target", c_uint32),
    ]


class RefusedStarts(Structure):
    _fields_ = [
        ("reader", c_uint64),
        ("target", c_uint64),
    ]


class RootKey(Structure):
    _fields_ = [
        ("workload", c_uint64),
        ("namespace", c_uint64),
    ]


class Root(Structure):
    _fields_ = [
        ("mount", c_uint64),
        ("dentry", c_uint64),
        ("cgroup", c_uint64),
        ("sealed", c_uint64),
    ]


class Workload(Structure):
    _fields_ = [
        ("sequence", c_uint64),
        ("delivered", c_uint64),
        ("suppressed", c_uint64),
        ("lost_denials", c_uint64),
        ("lost_activity", c_uint64),
        ("denial_bytes", c_uint64),
        ("spare", c_uint64 * 2),
    ]


class Exemption(Structure):
    _fields_ = [
        ("until", c_uint64),
        ("spare", c_uint64 * 3),
    ]


class EventNet(Structure):
    _fields_ = [
        ("address", c_uint8 * 16),
        ("port", c_uint16),
        ("family", c_uint8),
        ("type", c_uint8),
        ("protocol", c_uint16),
        ("local_port", c_uint16),
    ]


class EventDevice(Structure):
    _fields_ = [
        ("block", c_uint32),
        ("major", c_uint32),
        ("minor", c_uint32),
        ("spare", c_uint32 * 3),
    ]


class EventExec(Structure):
    _fields_ = [
        ("inode", c_uint64),
        ("device", c_uint32),
        ("length", c_uint32),
        ("prefix_bits", c_uint32),
        ("ruleset", c_uint32),
    ]


class EventPeer(Structure):
    _fields_ = [
        ("workload", c_uint64),
        ("type", c_uint32),
        ("length", c_uint32),
        ("prefix_bits", c_uint32),
        ("ruleset", c_uint32),
    ]


class EventGuard(Structure):
    _fields_ = [
        ("guard", c_uint32),
        ("operation", c_uint32),
        ("detail", c_uint32),
        ("target", c_uint32),
        ("spare", c_uint32 * 2),
    ]


class EventObject(Union):
    _fields_ = [
        ("net", EventNet),
        ("device", EventDevice),
        ("exec", EventExec),
        ("peer", EventPeer),
        ("guard", EventGuard),
    ]


class Event(Structure):
    _anonymous_ = ("object",)
    _fields_ = [
        ("version", c_uint16),
        ("kind", c_uint8),
        ("decision", c_uint8),
        ("reason", c_uint8),
        ("sequenced", c_uint8),
        ("rule", c_uint16),
        ("time", c_uint64),
        ("sequence", c_uint64),
        ("workload", c_uint64),
        ("cgroup", c_uint64),
        ("call", c_uint64),
        ("start", c_uint64),
        ("policy", c_uint32),
        ("revision", c_uint32),
        ("grants", c_uint32),
        ("flags", c_uint32),
        ("pid", c_uint32),
        ("tid", c_uint32),
        ("uid", c_uint32),
        ("parent", c_uint32),
        ("comm", c_char * 16),
        ("object", EventObject),
    ]


class Place(Structure):
    _fields_ = [
        ("dentry", c_uint64),
        ("mount", c_uint64),
        ("root_mount", c_uint64),
        ("root_dentry", c_uint64),
        ("sealed", c_uint64),
        ("candidate", c_uint64),
        ("unlinked", c_uint32),
        ("outcome", c_uint32),
        ("start", c_uint32),
        ("spare", c_uint32),
    ]


class ExecScratch(Structure):
    _fields_ = [
        ("program", c_uint64),
        ("place", Place),
        ("event", Event),
        ("path", c_char * SHORT_PATH_SIZE),
        ("room", c_char * NAME_ROOM),
    ]


class ExecScratchLong(Structure):
    """struct exec_scratch_long."""

    _fields_ = [
        ("head", ExecScratch),
        ("rest", c_char * (EVENT_PATH_SIZE - SHORT_PATH_SIZE)),
    ]


class TaskRecord(Structure):
    _fields_ = [
        ("tid", c_uint32),
        ("pid", c_uint32),
        ("start", c_uint64),
        ("cgroup", c_uint64),
        ("tag", Tag),
    ]


class IteratorCommand(Structure):
    _fields_ = [
        ("operation", c_uint32),
        ("spare", c_uint32),
        ("call", c_uint64),
    ]
