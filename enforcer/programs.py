# SPDX-License-Identifier: Apache-2.0
"""Loading and attaching the kernel programs.

This and compilation.py are the modules that import bcc; only the loader imports them. The
workarounds for bcc are all in these two, each with its reason.
"""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

from enforcer import libbpf
from enforcer.bytecode import patched
from enforcer.compilation import CapturedStandardError, LoadError, compiled
from enforcer.programtable import AttachMode, Program

# enum bpf_prog_type
TYPE_CGROUP_SKB = 8
TYPE_RAW_TRACEPOINT = 17
TYPE_CGROUP_SOCK_ADDR = 18
TYPE_TRACING = 26
TYPE_LSM = 29
PACKET_ATTACH_TYPES = (libbpf.CGROUP_INET_INGRESS, libbpf.CGROUP_INET_EGRESS)

# security_bprm_check is the one function whose name differs from its hook's.
FUNCTION_OF_HOOK = {"bprm_check_security": "security_bprm_check"}


class LoadOptions(ctypes.Structure):
    """struct bpf_prog_load_opts of libbpf, as far as bcc's loading needs it."""

    _fields_ = [
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_prog_fd", ctypes.c_uint32),
        ("fd_array", ctypes.c_void_p),
        ("func_info", ctypes.c_void_p),
        ("func_info_cnt", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_void_p),
    ]


class ProgramSet:
    """A compiled set of programs, ready to be loaded as the set `number` on these maps.

    With a `cache` the compiler is not started if it has seen the same before; `cached` says so.
    """

    def __init__(
        self,
        folder: Path,
        mode: AttachMode,
        number: int,
        map_descriptors: dict[str, int],
        cache: Path | None = None,
    ) -> None:
        self.mode = mode
        self.code, self.cached = compiled(folder, mode, list(map_descriptors), cache)
        self._maps = list(map_descriptors.values())
        self._number = number
        from bcc import lib

        self._lib = lib
        lib.bcc_prog_load_xattr.restype = ctypes.c_int
        lib.bcc_prog_load_xattr.argtypes = [
            ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p,
            ctypes.POINTER(LoadOptions), ctypes.c_int, ctypes.c_char_p, ctypes.c_uint,
            ctypes.c_bool,
        ]  # fmt: skip

    def load(self, program: Program) -> int:
        """Put one program through the verifier; returns its descriptor."""
        code = self.code.functions.get(program.function)
        if code is None:
            raise LoadError(f"program {program.function}: not in the compiled set")
        try:
            code = patched(code, self._maps, self._number)
        except ValueError as error:
            raise LoadError(f"program {program.function}: {error}") from None
        descriptor, number, text = self._try_load(program, code, level=0)
        if descriptor >= 0:
            return descriptor
        if not text.strip():
            _, _, text = self._try_load(program, code, level=1)
        lines = [line for line in text.splitlines() if line.strip()]
        last = next((x for x in reversed(lines) if not re.match(r"processed \d+", x)), "no log")
        raise LoadError(
            f"program {program.function} on {program.target}: {os.strerror(number)}: {last}"
            f" ({max(len(lines) - 1, 0)} lines omitted)",
            text,
        )

    def _try_load(self, program: Program, code: bytes, *, level: int) -> tuple[int, int, str]:
        """(descriptor, errno, log); bcc prints the verifier's log on standard error."""
        kind, name = self._type_and_name(program)
        options = LoadOptions(
            sz=ctypes.sizeof(LoadOptions),
            expected_attach_type=max(program.attach_type, 0),
            log_level=level,
        )
        if kind != TYPE_TRACING:
            options.kern_version = self.code.kernel_version
        with CapturedStandardError() as captured:
            descriptor = self._lib.bcc_prog_load_xattr(
                kind, name.encode(), self.code.license.encode(), code, ctypes.byref(options),
                len(code), None, 0, True,
            )  # fmt: skip
            return descriptor, ctypes.get_errno(), captured()

    def _type_and_name(self, program: Program) -> tuple[int, str]:
        # bcc finds the attach point by the name's prefix.
        match program.kind:
            case "security" if self.mode == "lsm":
                return TYPE_LSM, f"lsm__{program.target}"
            case "security":
                name = FUNCTION_OF_HOOK.get(program.target, f"security_{program.target}")
                return TYPE_TRACING, f"kmod_ret__{name}"
            case "fexit":
                return TYPE_TRACING, f"kretfunc__{program.target}"
            case "tracepoint":
                return TYPE_RAW_TRACEPOINT, program.function
            case "cgroup" if program.attach_type in PACKET_ATTACH_TYPES:
                return TYPE_CGROUP_SKB, program.function
            case "cgroup":
                return TYPE_CGROUP_SOCK_ADDR, program.function
            case "iterator":
                return TYPE_TRACING, f"bpf_iter__{program.target}"

    def attach(self, program: Program, descriptor: int) -> int:
        """Attach a loaded program; returns the link's descriptor."""
        lib = self._lib
        if program.kind == "security" and self.mode == "lsm":
            link = lib.bpf_attach_lsm(descriptor)
        elif program.kind in ("security", "fexit"):
            link = lib.bpf_attach_kfunc(descriptor)
        else:
            link = lib.bpf_attach_raw_tracepoint(descriptor, program.target.encode())
        if link < 0:
            raise LoadError(
                f"program {program.function} does not attach to {program.target}:"
                f" {os.strerror(-link)}"
            )
        return int(link)
