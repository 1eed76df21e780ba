# SPDX-License-Identifier: Apache-2.0
"""Which kernel modules the VM carries: those that tests use, and whatever these need."""

import lzma
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

# Below kernel/ of the modules' folder. Every kernel has most of these; a
# pattern that one kernel builds in, or lacks, matches nothing there.
WANTED = (
    "arch/x86/crypto/*",
    "block/*",
    "crypto/*",
    "drivers/block/loop",
    "drivers/block/virtio_blk",
    "drivers/char/hw_random/virtio-rng",
    "drivers/char/virtio_console",
    "drivers/gpu/drm/drm",
    "drivers/gpu/drm/drm_*",
    "drivers/gpu/drm/vgem/*",
    "drivers/net/bonding/*",
    "drivers/net/dummy",
    "drivers/net/geneve",
    "drivers/net/ifb",
    "drivers/net/ipvlan/*",
    "drivers/net/macvlan",
    "drivers/net/macvtap",
    "drivers/net/tap",
    "drivers/net/tun",
    "drivers/net/veth",
    "drivers/net/vrf",
    "drivers/net/vxlan*",
    "drivers/net/wireguard/*",
    "drivers/virtio/*",
    "drivers/vhost/*",
    "fs/9p/*",
    "fs/autofs/*",
    "fs/binfmt_misc",
    "fs/configfs/*",
    "fs/crypto/*",
    "fs/ext4/*",
    "fs/fuse/*",
    "fs/jbd2/*",
    "fs/mbcache",
    "fs/nls/*",
    "fs/overlayfs/*",
    "fs/squashfs/*",
    "lib/*",
    "net/802/*",
    "net/8021q/*",
    "net/bridge/*",
    "net/core/*",
    "net/ipv4/*",
    "net/ipv6/*",
    "net/key/*",
    "net/llc/*",
    "net/mptcp/*",
    "net/netfilter/*",
    "net/netlink/*",
    "net/packet/*",
    "net/rds/*",
    "net/sched/*",
    "net/sctp/*",
    "net/smc/*",
    "net/tipc/*",
    "net/tls/*",
    "net/unix/*",
    "net/vmw_vsock/*",
    "net/xfrm/*",
)
# Needed before the root file system is there, in this order of importance;
# crc32c is asked for by name, so that modules.dep does not tell of it.
FOR_BOOT = ("virtio_pci", "virtio_blk", "crc32c_generic", "crc32c_intel", "ext4")


def stem(path: str) -> str:
    """A module's path without .ko and compression: kernel/fs/ext4/ext4.ko.xz gives its name."""
    return path.split(".ko", 1)[0]


def parse_dependencies(text: str) -> dict[str, list[str]]:
    """modules.dep: each module's path with the paths that it needs, nearest first."""
    result = {}
    for line in text.splitlines():
        module, _, needs = line.partition(":")
        result[module] = needs.split()
    return result


def wanted(needs: Mapping[str, list[str]], patterns: Iterable[str] = WANTED) -> set[str]:
    """Paths of all modules that match a pattern, and of all that those need."""
    patterns = [f"kernel/{pattern}" for pattern in patterns]
    chosen = {
        path for path in needs if any(fnmatchcase(stem(path), pattern) for pattern in patterns)
    }
    for path in list(chosen):
        chosen.update(needs[path])
    return chosen


def boot_order(needs: Mapping[str, list[str]]) -> list[str]:
    """Paths of the modules for the first file system, each after those it needs."""
    by_name = {Path(stem(path)).name: path for path in needs}
    order: list[str] = []
    for name in FOR_BOOT:
        path = by_name.get(name)
        if path is None:
            continue
        for module in (*reversed(needs[path]), path):
            if module not in order:
                order.append(module)
    return order


def read(path: Path) -> bytes:
    """A module's plain content; later kernels pack modules with xz."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data
