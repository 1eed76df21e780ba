# SPDX-License-Identifier: Apache-2.0
"""From the sources in bpf/ to instructions, by bcc's clang or from an earlier start's result."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from enforcer import codecache
from enforcer.btf import kernel_header
from enforcer.bytecode import OWN_SET, Bytecode
from enforcer.programtable import AttachMode, programs_for

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


COMPILER_LIBRARIES = re.compile(r"/lib(bcc|clang|LLVM)[^/]*$")


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


def compiled(
    folder: Path, mode: AttachMode, maps: Sequence[str], cache: Path | None
) -> tuple[Bytecode, bool]:
    """The programs of the sources in `folder`, and whether they came from the folder `cache`.

    Raises LoadError with what clang said.
    """
    # bcc reads it when it is imported.
    os.environ["BCC_KERNEL_SOURCE"] = str(folder / "include")
    text = source_text(folder, kernel_header())
    flags = [f"-DMAP_{name}={index}" for index, name in enumerate(maps)]
    flags += [f"-DOWN_SET={OWN_SET:#x}", *WARNINGS]
    if mode == "lsm":
        flags.append("-DATTACH_LSM")
    if cache is None:
        return _compile(text, flags), False
    key = codecache.key([text, *flags, *_compiler_identity(folder)])
    functions = [program.function for program in programs_for(mode)]
    kept = codecache.read(cache, key, functions)
    if kept is not None:
        return kept, True
    made = _compile(text, flags)
    codecache.write(cache, key, made)
    return made, False


def _compile(text: str, flags: list[str]) -> Bytecode:
    """Run clang. LoadError with its messages."""
    from bcc import BPF, lib

    with CapturedStandardError() as captured:
        try:
            bpf = BPF(text=text.encode(), cflags=flags)
        except Exception as error:  # noqa: BLE001 (bcc raises nothing more precise)
            raise LoadError(f"bpf programs do not compile: {error}", captured()) from None
    module = bpf.module
    names = [lib.bpf_function_name(module, n) for n in range(lib.bpf_num_functions(module))]
    return Bytecode(
        lib.bpf_module_license(module).decode(),
        lib.bpf_module_kern_version(module),
        {
            name.decode(): ctypes.string_at(
                lib.bpf_function_start(module, name), lib.bpf_function_size(module, name)
            )
            for name in names
        },
    )


def _compiler_identity(folder: Path) -> list[str | bytes]:
    """What else changes the code that is made: bcc, its libraries, our headers, the kernel's name.

    Once bcc is imported, the process has mapped the very libraries that would compile.
    """
    import bcc

    parts: list[str | bytes] = [bcc.__version__, platform.machine(), platform.release()]
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    for library in sorted(name for name in mapped if COMPILER_LIBRARIES.search(name)):
        status = Path(library).stat()
        parts.append(f"{library} {status.st_size} {status.st_mtime_ns}")
    for path in sorted((folder / "include").rglob("*.h")):
        parts += [str(path.relative_to(folder)), path.read_bytes()]
    return parts


class CapturedStandardError:
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
