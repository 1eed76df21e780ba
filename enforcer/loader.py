# SPDX-License-Identifier: Apache-2.0
"""The one-shot loader: compile, load, attach, pin, restore policies, prove a denial, exit.

Only this program holds bcc and LLVM. It is run at boot before container runtimes, by
`lictor up`, and to upgrade: the new program set is attached before the old one is detached,
on the same maps, so that no attempt falls between the two. A set made from the very same
sources is left as it is, unless `--reload` is given.

Exit: 0 enforcing; 1 not (the report says why); 2 this machine cannot enforce.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loguru import logger

from enforcer import abi, canary_state, cgroups, clock, libbpf, paths, pins
from enforcer.canary import exclusively, run_canary
from enforcer.compilation import LoadError
from enforcer.compiler_unix import unix_key
from enforcer.enforcement import Enforcement
from enforcer.maps import Maps
from enforcer.preflight import attach_mode
from enforcer.programs import ProgramSet
from enforcer.programtable import AttachMode, programs_for
from enforcer.store import PolicyStore
from enforcer.tasks import Tasks

EXIT_NOT_ENFORCING = 1
EXIT_IMPOSSIBLE = 2
SO_NETNS_COOKIE = 71
BPF_FILE_SYSTEM = Path("/sys/fs/bpf")


def attach(maps: Maps, mode: AttachMode) -> int:
    """Put a new program set in force on the pinned maps; returns its number.

    The sets before it stay attached: both deny, the new one reports. Raises LoadError or
    OSError; the new set is gone then and nothing else has changed.
    """
    before = pins.sets()
    _prepare_control(maps)
    number = max([*before, pins.owner(maps)], default=0) + 1
    started = time.monotonic()
    programs = ProgramSet(
        paths.BPF_SOURCES, mode, number, maps.descriptors, cache=paths.PROGRAM_CACHE
    )
    compiled = time.monotonic()
    folder = pins.set_folder(number)
    folder.mkdir(mode=0o700)
    try:
        loaded = [(program, programs.load(program)) for program in programs_for(mode)]
        for program, descriptor in loaded:
            if program.kind not in ("cgroup", "iterator"):
                descriptor = programs.attach(program, descriptor)
            libbpf.pin(descriptor, str(folder / program.function))
        logger.info(
            "programs {} in {:.1f} s, verified and attached in {:.1f} s",
            "taken from the cache" if programs.cached else "compiled",
            compiled - started,
            time.monotonic() - compiled,
        )
        for cgroup in {c for old in before for c in pins.armed(old)}:
            path = cgroups.find(cgroup)
            if path is not None:
                pins.arm(number, path)
    except (LoadError, OSError):
        pins.remove_set(number)
        raise
    control = maps.control.get(0) or abi.Control()
    control.owner = number
    control.tai_offset = clock.tai_offset()
    maps.control.put(0, control)
    return number


def _prepare_control(maps: Maps) -> None:
    """What the programs rely on from their first moment: the host's namespace, secret keys."""
    control = maps.control.get(0) or abi.Control()
    control.layout = abi.LAYOUT_VERSION
    control.host_netns = _network_namespace_cookie()
    # Sockets remember flows by these keys, and sockets outlive a program set.
    if not any(control.flow_keys):
        for index in range(abi.FLOW_KEYS):
            control.flow_keys[index] = secrets.randbits(64)
    maps.control.put(0, control)


def sources_digest() -> str:
    """SHA-256 over everything that a program set is made from, the kernel included."""
    digest = hashlib.sha256(platform.release().encode())
    for path in sorted(paths.BPF_SOURCES.rglob("*.[ch]")):
        digest.update(f"\0{path.relative_to(paths.BPF_SOURCES)}\0".encode() + path.read_bytes())
    for name in ("btf.py", "bytecode.py", "compilation.py", "programs.py", "programtable.py"):
        digest.update(b"\0" + Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


def in_force(maps: Maps, mode: AttachMode) -> int | None:
    """Number of the attached program set, if it is whole and made from these very sources."""
    number = pins.owner(maps)
    try:
        noted = json.loads(paths.PROGRAM_SET.read_text())
    except (FileNotFoundError, ValueError):
        return None
    wanted = {"number": number, "mode": mode, "digest": sources_digest()}
    folder = pins.set_folder(number)
    whole = all((folder / program.function).exists() for program in programs_for(mode))
    return number if noted == wanted and whole and pins.sets() == [number] else None


def _network_namespace_cookie() -> int:
    if not Path("/proc/self/ns/net").samefile("/proc/1/ns/net"):
        raise OSError("the loader must run in the host's network namespace")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return int.from_bytes(
            probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder
        )


@contextmanager
def _in_root_cgroup() -> Iterator[None]:
    """Be in the root cgroup for a moment.

    The kernel charges what a map allocates later, each task's tag among it, to the memory
    cgroup of whoever made the map. In the root cgroup nothing is charged: no limit on ours can
    keep a workload from forking, and no charge cache is thrashed at each fork and exec.
    Source: bpf_map_kzalloc in kernel/bpf/syscall.c.
    """
    before = cgroups.of_process(os.getpid())
    cgroups.enter("/")
    try:
        yield
    finally:
        cgroups.enter(before)


def _open_calls_socket(maps: Maps) -> None:
    """Every workload may reach it, whatever its policy says of unix sockets."""
    name = bytes(paths.CALLS_SOCKET) + b"\0"
    maps.unix_names.put(unix_key(0, name), abi.PathVerdict(allow=abi.GRANT_BASE))


def _mount_bpf_file_system() -> None:
    if not os.path.ismount(BPF_FILE_SYSTEM):
        subprocess.run(["mount", "-t", "bpf", "bpf", str(BPF_FILE_SYSTEM)], check=True)


def _report(started: float, mode: str, **fields: Any) -> None:
    report = {
        "version": 1,
        "time": time.time(),
        "seconds": round(time.monotonic() - started, 3),
        "kernel": platform.release(),
        "mode": mode,
        **fields,
    }
    paths.write_atomically(paths.LOADER_REPORT, json.dumps(report, indent=1) + "\n")


def _run(mode: AttachMode, started: float, *, reload: bool) -> bool:
    _mount_bpf_file_system()
    before = pins.sets()
    with _in_root_cgroup():
        maps = Maps.create()
    _open_calls_socket(maps)
    kept = None if reload else in_force(maps, mode)
    if kept is not None:
        number, before = kept, []
        logger.info("program set {} is attached as {} already", number, mode)
    else:
        number = attach(maps, mode)
        logger.info("program set {} attached as {}", number, mode)
    restored, problems = Enforcement(maps, PolicyStore(), Tasks(maps)).restore()
    for problem in problems:
        logger.critical("{}", problem)
    for stored in restored:
        logger.info("policy {} revision {} in force", stored.name, stored.revision)
    # Only now: until here the older set, on whatever maps, has denied all that it denied before.
    with exclusively():
        for old in before:
            pins.remove_set(old)
    pins.remove_old_maps()
    noted = {"number": number, "mode": mode, "digest": sources_digest()}
    paths.write_atomically(paths.PROGRAM_SET, json.dumps(noted) + "\n")
    before_canary = time.monotonic()
    canary = run_canary(maps)
    logger.info("canary run in {:.1f} s", time.monotonic() - before_canary)
    if kept is not None and not canary.enforcing:
        logger.critical("program set {} denies nothing: {}; loading anew", kept, canary.results)
        return _run(mode, started, reload=True)
    canary_state.keep(canary)
    enforcing = canary.enforcing and not problems
    _report(
        started,
        mode,
        program_set=number,
        enforcing=enforcing,
        canary=canary.results,
        problems=problems,
        policies={stored.name: stored.revision for stored in restored},
    )
    if not enforcing:
        logger.critical("NOT ENFORCING: {} {}", canary.results, " ".join(problems))
    return enforcing


def main() -> int:
    """Entry point. Argument --reload: load anew even if this very program set is attached."""
    started = time.monotonic()
    reload = "--reload" in sys.argv[1:]
    logger.remove()
    logger.add(sys.stderr, level="INFO", diagnose=False, backtrace=False)
    if os.geteuid() != 0:
        logger.error("the loader needs root")
        return EXIT_IMPOSSIBLE
    paths.RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    mode = attach_mode()
    with open(paths.RUN / "loader.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            enforcing = _run(mode, started, reload=reload)
        except LoadError as error:
            log = paths.RUN / "loader.log"
            log.write_text(error.log)
            logger.error("{}; full log: {}", error, log)
            _report(started, mode, enforcing=False, error=str(error))
            return EXIT_IMPOSSIBLE
        except (OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
            logger.error("{}", error)
            _report(started, mode, enforcing=False, error=str(error))
            return EXIT_IMPOSSIBLE
    if not enforcing:
        return EXIT_NOT_ENFORCING
    logger.info("enforcing, {:.1f} s", time.monotonic() - started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
