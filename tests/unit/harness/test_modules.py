# SPDX-License-Identifier: Apache-2.0
"""The VM's kernel modules: what is wanted comes with what it needs, in loading order."""

import gzip
import lzma
from pathlib import Path

import pytest

from tests.kernel.harness import initramfs, kernels, modules

DEPENDENCIES = """\
kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/drivers/net/vxlan/vxlan.ko.xz: kernel/net/ipv4/udp_tunnel.ko.xz
kernel/net/ipv4/udp_tunnel.ko.xz:
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz
kernel/drivers/virtio/virtio_ring.ko.xz:
kernel/sound/core/snd.ko.xz:
"""


def test_wanted_modules_bring_what_they_need() -> None:
    chosen = modules.wanted(modules.parse_dependencies(DEPENDENCIES), ["drivers/net/vxlan*"])
    assert chosen == {
        "kernel/drivers/net/vxlan/vxlan.ko.xz",
        "kernel/net/ipv4/udp_tunnel.ko.xz",
    }


def test_nothing_else_is_carried() -> None:
    chosen = modules.wanted(modules.parse_dependencies(DEPENDENCIES))
    assert "kernel/sound/core/snd.ko.xz" not in chosen


def test_boot_loads_a_module_after_its_needs() -> None:
    names = [
        Path(modules.stem(path)).name
        for path in modules.boot_order(modules.parse_dependencies(DEPENDENCIES))
    ]
    assert names == ["virtio_ring", "virtio_blk", "crc16", "jbd2", "ext4"]


def test_packed_module_is_unpacked_for_the_first_file_system(tmp_path: Path) -> None:
    packed, plain = tmp_path / "a.ko.xz", tmp_path / "b.ko"
    packed.write_bytes(lzma.compress(b"code"))
    plain.write_bytes(b"code")
    assert modules.read(packed) == modules.read(plain) == b"code"


def members(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """A newc archive's modes and contents, read by the format's own rules."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        numbers = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name_size, size = numbers[11], numbers[6]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        start = at + (110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (numbers[1], archive[start : start + size])
        at = start + (size + 3) // 4 * 4


def test_first_file_system_holds_shell_and_modules_in_order() -> None:
    packed = initramfs.build("6.1.0-1-amd64", b"shell", {"crc16.ko": b"1", "ext4.ko": b"22"})
    found = members(gzip.decompress(packed))
    assert found["bin/busybox"] == (0o100755, b"shell")
    assert found["modules/ext4.ko"] == (0o100755, b"22")
    init = found["init"][1].decode()
    assert "for module in crc16.ko ext4.ko; do" in init
    assert "/root/usr/lib/modules/6.1.0-1-amd64" in init


def test_same_parts_make_the_same_bytes() -> None:
    assert initramfs.build("6.1", b"s", {"a": b""}) == initramfs.build("6.1", b"s", {"a": b""})


def test_lsm_list_is_read_from_the_kernel_configuration() -> None:
    assert kernels.configured_lsms('# CONFIG_X is not set\nCONFIG_LSM="yama,bpf"\n') == "yama,bpf"


def test_configuration_without_lsm_list_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no CONFIG_LSM"):
        kernels.configured_lsms("CONFIG_LSM_MMAP_MIN_ADDR=65536\n")
