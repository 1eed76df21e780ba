# SPDX-License-Identifier: Apache-2.0
"""Bootable kernels from Debian's packages: kernel, first file system, modules on a disk image."""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.harness import apt, cache, disk, initramfs, matrix, modules
from tests.kernel.harness.progress import run, say

# The metapackage whose newest version names the suite's current kernel.
METAPACKAGE = "linux-image-amd64"
# The shell of the first file system; of the VM's own release for all kernels.
_BUSYBOX = "busybox-static"
# From 7 on, linux-image-VERSION is itself empty and needs these.
_PARTS = re.compile(r"linux-(image|binary|modules|base)-\d")
_SOURCES = (
    Path(apt.__file__),
    Path(disk.__file__),
    Path(initramfs.__file__),
    Path(modules.__file__),
    Path(__file__),
)


@dataclass(frozen=True)
class Built:
    """A kernel in the cache: `version` is Debian's upstream version, `release` what uname says."""

    folder: Path
    version: str
    release: str

    @property
    def security_modules(self) -> list[str]:
        """The LSMs that Debian turns on in this kernel, in order."""
        return (self.folder / "lsm").read_text().strip().split(",")

    @property
    def image(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"

    @property
    def modules(self) -> Path:
        return self.folder / "modules.img"


def _name(kernel: matrix.Kernel) -> str:
    return f"kernel-{kernel.series}"


def _key(kernel: matrix.Kernel) -> str:
    return cache.digest([repr(kernel), *_SOURCES])


def _read(folder: Path) -> Built:
    version, release = (folder / "version").read_text().split()
    return Built(folder, version, release)


def known_versions() -> dict[str, str]:
    """Full versions of the kernels that are in the cache, by series."""
    found = {kernel.series: cache.find(_name(kernel), _key(kernel)) for kernel in matrix.MATRIX}
    return {series: _read(path).version for series, path in found.items() if path is not None}


def obtain(kernel: matrix.Kernel) -> Built:
    """The matrix row's kernel, downloaded and prepared if the cache lacks it."""
    return _read(cache.obtain(_name(kernel), _key(kernel), lambda folder: _build(kernel, folder)))


def choose(text: str) -> Built:
    """The kernel that a version prefix names; prepares those that it might name."""
    candidates = [kernel for kernel in matrix.MATRIX if matrix.may_match(text, kernel)]
    versions = known_versions()
    if not any(matrix.is_prefix(text, kernel.series) for kernel in candidates):
        # The prefix is longer than the series: only the full version can tell.
        versions |= {kernel.series: obtain(kernel).version for kernel in candidates}
    return obtain(matrix.select(text, versions))


def _build(kernel: matrix.Kernel, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        (scratch / "apt").mkdir()
        source = apt.PrivateApt(scratch / "apt", kernel.suites)
        tree = scratch / "tree"
        tree.mkdir()
        image = apt.dependencies(source.newest(METAPACKAGE))
        version = _unpack(source, [name for name in image if _PARTS.match(name)], tree, scratch)
        if not matrix.is_prefix(kernel.series, version):
            raise RuntimeError(
                f"kernel {kernel.series}: {', '.join(kernel.suites)} now offers {version}; "
                "the matrix needs another suite for this row"
            )
        busybox = cache.obtain("busybox", cache.digest([repr(_BUSYBOX), *_SOURCES]), _build_busybox)
        release = _assemble(tree, (busybox / "busybox").read_bytes(), folder)
        (folder / "version").write_text(f"{version} {release}\n")


def _build_busybox(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        archive = apt.PrivateApt(scratch, matrix.USERLAND_SUITES).download(_BUSYBOX, scratch)
        run(f"unpacking {_BUSYBOX}", ["dpkg-deb", "--extract", archive, scratch / "tree"])
        shutil.copyfile(next(scratch.glob("tree/**/bin/busybox")), folder / "busybox")


def _unpack(source: apt.PrivateApt, packages: list[str], tree: Path, scratch: Path) -> str:
    """Unpack packages and the kernel parts they need; returns the upstream version."""
    done: set[str] = set()
    version = ""
    while waiting := [package for package in packages if package not in done]:
        package = waiting[0]
        done.add(package)
        control = source.newest(package)
        version = re.split(r"[-~+]", control["Version"])[0]
        packages += [name for name in apt.dependencies(control) if _PARTS.match(name)]
        say(f"{package} {control['Version']}: {int(control['Size']) / 1e6:.0f} MB")
        archive = source.download(package, scratch)
        run(f"unpacking {package}", ["dpkg-deb", "--extract", archive, tree])
        archive.unlink()
    return version


def configured_lsms(config: str) -> str:
    """CONFIG_LSM of a kernel's configuration: names between commas."""
    if (found := re.search(r'^CONFIG_LSM="(.*)"$', config, re.MULTILINE)) is None:
        raise RuntimeError("kernel configuration: no CONFIG_LSM")
    return found[1]


def _assemble(tree: Path, busybox: bytes, folder: Path) -> str:
    # Packages of merged and unmerged /usr differ in where modules lie.
    merged, unmerged = tree / "usr/lib/modules", tree / "lib/modules"
    holders = [path for base in (merged, unmerged) if base.is_dir() for path in base.iterdir()]
    if len(holders) != 1:
        raise RuntimeError(f"kernel packages: {len(holders)} folders of modules, expected one")
    source = holders[0]
    release = source.name
    image = next(
        path for path in (tree / f"boot/vmlinuz-{release}", source / "vmlinuz") if path.exists()
    )
    shutil.copyfile(image, folder / "vmlinuz")

    config = next(
        path for path in (tree / f"boot/config-{release}", source / "config") if path.exists()
    )
    (folder / "lsm").write_text(configured_lsms(config.read_text()) + "\n")

    run("module index", ["depmod", "--basedir", source.parents[2], release])
    needs = modules.parse_dependencies((source / "modules.dep").read_text())
    boot = modules.boot_order(needs)
    contents = {Path(modules.stem(path)).name + ".ko": modules.read(source / path) for path in boot}
    (folder / "initrd").write_bytes(initramfs.build(release, busybox, contents))

    kept = tree / "kept/lib/modules" / release
    for path in modules.wanted(needs):
        (kept / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).rename(kept / path)
    for index in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copyfile(source / index, kept / index)
    run("module index", ["depmod", "--basedir", tree / "kept", release])
    disk.make_ext4(folder / "modules.img", kept, spare_mib=8)
    return release
