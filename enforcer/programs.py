# SPDX-License-Identifier: Apache-2.0
"""Compiling, loading and attaching the kernel programs.

The one module that imports bcc; only the loader imports it. Its workarounds for bcc are
all here, each with its reason.
"""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path
from typing import Any

from enforcer import libbpf
from enforcer.btf import kernel_header
from enforcer.programtable import AttachMode, Program

SOURCES = (
    "shared.h",
    "maps.h",
    "subject.c",
    "home.c",
    "place.c",
    "event.c",
    "guard.c",
    "guard_mount.c",
    "guard_kernel.c",
    "egress.c",
    "packet.c",
    "exec.c",
    "mapping.c",
    "unix.c",
    "device.c",
    "descriptor.c",
    "task.c",
    "iterate.c",
)

# enum bpf_prog_type
TYPE_CGROUP_SKB = 8
TYPE_RAW_TRACEPOINT = 17
TYPE_CGROUP_SOCK_ADDR = 18
TYPE_TRACING = 26
TYPE_LSM = 29
PACKET_ATTACH_TYPES = (libbpf.CGROUP_INET_INGRESS, libbpf.CGROUP_INET_EGRESS)

# C warnings are errors; the two exceptions are bcc's own headers.
WARNINGS = (
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-parameter",
    "-Wno-unused-function",
    "-Wno-sign-compare",
    "-Wno-missing-field-initializers",
    "-Wno-macro-redefined",
)


# security_bprm_check is the one function whose name differs from its hook's.
FUNCTION_OF_HOOK = {"bprm_check_security": "security_bprm_check"}


class LoadError(Exception):
    """A program was refused; str is one line, `log` the compiler's or verifier's full text."""

    def __init__(self, text: str, log: str = "") -> None:
        super().__init__(text)
        self.log = log


def source_text(folder: Path, kernel: str) -> str:
    """All sources as one buffer: bcc places only functions of its main buffer in sections."""
    parts = [kernel]
    for name in SOURCES:
        parts.append(f'#line 1 "{name}"\n{(folder / name).read_text()}')
    return "\n".join(parts)


class ProgramSet:
    """A compiled set of programs. Keep the object while loading: bcc owns the code."""

    def __init__(
        self, folder: Path, mode: AttachMode, number: int, map_descriptors: dict[str, int]
    ) -> None:
        os.environ["BCC_KERNEL_SOURCE"] = str(folder / "include")
        from bcc import BPF, lib

        self.mode = mode
        self._lib = lib
        flags = [f"-DMAP_{name}={fd}" for name, fd in map_descriptors.items()]
        flags += [f"-DPROGRAM_SET={number}u", *WARNINGS]
        if mode == "lsm":
            flags.append("-DATTACH_LSM")
        text = source_text(folder, kernel_header())
        with _CapturedStandardError() as captured:
            try:
                self._bpf: Any = BPF(text=text.encode(), cflags=flags)
            except Exception as error:  # noqa: BLE001 (bcc raises nothing more precise)
                raise LoadError(f"bpf programs do not compile: {error}", captured()) from None

    def load(self, program: Program) -> int:
        """Put one program through the verifier; returns its descriptor."""
        kind, name = self._type_and_name(program)
        function = program.function.encode()
        lib, module = self._lib, self._bpf.module
        start = lib.bpf_function_start(module, function)
        size = lib.bpf_function_size(module, function)
        if not start:
            raise LoadError(f"program {program.function}: not in the compiled set")
        descriptor, number, text = self._try_load(program, kind, name, start, size, level=0)
        if descriptor >= 0:
            return descriptor
        if not text.strip():
            _, _, text = self._try_load(program, kind, name, start, size, level=1)
        lines = [line for line in text.splitlines() if line.strip()]
        last = next((x for x in reversed(lines) if not re.match(r"processed \d+", x)), "no log")
        raise LoadError(
            f"program {program.function} on {program.target}: {os.strerror(number)}: {last}"
            f" ({max(len(lines) - 1, 0)} lines omitted)",
            text,
        )

    def _try_load(
        self, program: Program, kind: int, name: str, start: Any, size: int, *, level: int
    ) -> tuple[int, int, str]:
        """(descriptor, errno, log); bcc prints the verifier's log on standard error."""
        lib, module = self._lib, self._bpf.module
        with _CapturedStandardError() as captured:
            descriptor = lib.bcc_func_load(
                module, kind, name.encode(), start, size, lib.bpf_module_license(module),
                lib.bpf_module_kern_version(module), level, None, 0, None, program.attach_type,
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


class _CapturedStandardError:
    """Catch what clang writes to descriptor 2; the call gives the text so far."""

    def __enter__(self) -> Any:
        self._saved = os.dup(2)
        self._file = os.memfd_create("bcc-stderr")
        os.dup2(self._file, 2)
        return self._text

    def _text(self) -> str:
        size = os.lseek(self._file, 0, os.SEEK_END)
        return os.pread(self._file, size, 0).decode(errors="replace")

    def __exit__(self, *_: object) -> None:
        os.dup2(self._saved, 2)
        os.close(self._saved)
        os.close(self._file)
