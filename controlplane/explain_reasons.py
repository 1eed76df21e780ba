# SPDX-License-Identifier: Apache-2.0
"""The reasons and decisions of docs/events.md in words, and what to do where no rule can help."""

from __future__ import annotations

DECISIONS = {
    "allowed": "allowed: Lictor did not stop it",
    "denied": "denied: it did not happen; the program got an error",
    "audited": "audited: it was not stopped; under `mode: enforce` it would have been",
}

EXEMPT = "audited: it was not stopped, since the workload was exempt; else it would have been"

REASONS = {
    "none": "nothing is decided by such an event",
    "rule": "a rule decided",
    "any": "the section is `any`",
    "loopback": "loopback, in a network namespace of the workload's own",
    "not_allowed": "no rule matches",
    "port": "the address is in a rule; this port or protocol is not",
    "escaped": "the process was outside its workload's cgroup, where everything is denied",
    "no_policy": "the policy's rules could not be found in the kernel",
    "no_storage": "the kernel had no memory for what Lictor keeps of a process or a path",
    "unreadable": "the address or path could not be read, or is too long or too short",
    "family": "a socket of a family, type or protocol that egress rules cannot judge",
    "options": "the packet brings its own route: IP options or an IPv6 extension header",
    "unarmed": "the workload's socket programs were not attached yet",
    "changed": "the file has no name, or changed since the workload was entered",
    "mount": "the file is not below the root with which the workload was entered",
    "guard": "a guard forbids it: it acts on what is not the workload's own",
    "foreign": "the descriptor was made outside of the workload",
}

# Why no rule would have helped, and what does: these are decided before any rule is looked at.
BEYOND_POLICY = {
    "escaped": (
        "no rule holds outside the workload's cgroup: keep its processes there, or move this one"
        " back; `lictor events --kind escape` shows when it left"
    ),
    "no_policy": (
        "the kernel had none of the policy's rules at that moment: `lictor doctor` says what is"
        " wrong, `lictor up` puts the stored policies into force again"
    ),
    "no_storage": (
        "the kernel was out of memory, and what cannot be judged is denied: give the node, or the"
        " workload's cgroup, more memory"
    ),
    "unreadable": (
        "what cannot be read cannot be judged: an address must be a whole one of IPv4 or IPv6, a"
        " path at most 4,607 bytes long"
    ),
    "options": (
        "where a packet with a route of its own goes, no rule can say: only `egress: any` lets it"
        " out; leave such socket options unset"
    ),
    "unarmed": (
        "the agent attaches the socket programs soon after a cgroup is made, and until then every"
        " socket is denied: see ARMED in `lictor workloads`, and start the agent if it is down"
    ),
    "mount": (
        "rules know files by their paths below the root with which the workload was entered, and"
        " there this file is not: mount its file system from outside, when the container is made"
    ),
    "changed": (
        "under `changed: deny` rules allow files as the workload found them: give the rule"
        " `changed: allow` if fresh ones are meant to run there. A file without a name (a memfd,"
        " a deleted one) is allowed by `exec: any` alone, to be mapped also by `mappings: any`"
    ),
}

ANY_ONLY = (
    "rules name addresses, and such a socket has none: only `egress: any` allows it, and with it"
    " every destination"
)
GUARD_WIDE = (
    "an open guard is open for every process of the workload and for all that it guards: write it"
    " yourself if that is meant"
)
NOTHING_JUDGED = "the event tells what happened; no policy allows or denies it"
FORK = "a fork is denied only where the kernel has no memory for the child's tag"
