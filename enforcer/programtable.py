# SPDX-License-Identifier: Apache-2.0
"""The kernel programs: each C function, where it attaches, in which mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from enforcer import libbpf

AttachMode = Literal["lsm", "fmod_ret"]


@dataclass(frozen=True)
class Program:
    """A C function and where it attaches.

    kind: security (an LSM hook, either mode), fexit (fmod_ret mode only), tracepoint (raw),
    cgroup (attached per workload), iterator (opened on demand).
    """

    function: str
    kind: Literal["security", "fexit", "tracepoint", "cgroup", "iterator"]
    target: str
    attach_type: int = -1


PROGRAMS = (
    Program("egress_socket_post_create", "security", "socket_post_create"),
    Program("egress_socket_connect", "security", "socket_connect"),
    Program("egress_socket_created", "fexit", "security_socket_post_create"),
    Program("egress_socket_connecting", "fexit", "security_socket_connect"),
    Program("exec_bprm_check", "security", "bprm_check_security"),
    Program("mapping_mmap_file", "security", "mmap_file"),
    Program("mapping_file_mprotect", "security", "file_mprotect"),
    Program("unix_stream_connect", "security", "unix_stream_connect"),
    Program("unix_may_send", "security", "unix_may_send"),
    Program("device_file_open", "security", "file_open"),
    Program("guard_ptrace_access_check", "security", "ptrace_access_check"),
    Program("guard_ptrace_traceme", "security", "ptrace_traceme"),
    Program("guard_task_kill", "security", "task_kill"),
    Program("guard_sb_mount", "security", "sb_mount"),
    Program("guard_sb_kern_mount", "security", "sb_kern_mount"),
    Program("guard_sb_remount", "security", "sb_remount"),
    Program("guard_sb_umount", "security", "sb_umount"),
    Program("guard_move_mount", "security", "move_mount"),
    Program("guard_sb_pivotroot", "security", "sb_pivotroot"),
    Program("guard_capable", "security", "capable"),
    Program("guard_kernel_module_request", "security", "kernel_module_request"),
    Program("guard_bpf", "security", "bpf"),
    Program("guard_perf_event_open", "security", "perf_event_open"),
    Program("guard_inode_unlink", "security", "inode_unlink"),
    Program("guard_inode_rmdir", "security", "inode_rmdir"),
    Program("guard_inode_rename", "security", "inode_rename"),
    Program("guard_file_receive", "security", "file_receive"),
    Program("task_task_alloc", "security", "task_alloc"),
    Program("task_cgroup_mkdir", "tracepoint", "cgroup_mkdir"),
    Program("task_cgroup_rmdir", "tracepoint", "cgroup_rmdir"),
    Program("egress_cgroup_sendmsg4", "cgroup", "sendmsg4", libbpf.CGROUP_UDP4_SENDMSG),
    Program("egress_cgroup_sendmsg6", "cgroup", "sendmsg6", libbpf.CGROUP_UDP6_SENDMSG),
    Program("egress_packet_out", "cgroup", "egress", libbpf.CGROUP_INET_EGRESS),
    Program("ingress_packet_in", "cgroup", "ingress", libbpf.CGROUP_INET_INGRESS),
    Program("iterate_tasks", "iterator", "task"),
)


def programs_for(mode: AttachMode) -> tuple[Program, ...]:
    """The programs that are attached in `mode`."""
    return tuple(p for p in PROGRAMS if p.kind != "fexit" or mode == "fmod_ret")
