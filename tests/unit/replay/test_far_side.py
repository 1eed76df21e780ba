# SPDX-License-Identifier: Apache-2.0
"""The far side's recorders: what they make of packets, requests, logs and time."""

from __future__ import annotations

import errno
import socket
import struct
import threading
import zipfile
from pathlib import Path

import pytest

from tests import cuse
from tests.replay import mirror, packets, places, tunnel_host
from tests.replay.records import Record
from tests.replay.trajectory import STEPS


def ipv4(protocol: int, destination: str, transport: bytes) -> bytes:
    length = 20 + len(transport)
    head = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, 64, protocol, 0)
    return head + socket.inet_aton("10.20.1.2") + socket.inet_aton(destination) + transport


def test_a_tcp_opening_is_described_with_its_destination() -> None:
    syn = struct.pack("!HHIIBBHHH", 40000, 443, 0, 0, 0x50, packets.SYN, 0, 0, 0)
    assert packets.describe(packets.ETH_P_IP, ipv4(6, "198.51.100.7", syn)) == {
        "protocol": "tcp",
        "destination": "198.51.100.7",
        "port": 443,
        "length": 40,
        "opens": True,
    }


def test_other_protocols_are_described_too() -> None:
    echo = packets.describe(packets.ETH_P_IP, ipv4(1, "10.30.0.2", b"\x08\x00"))
    assert echo is not None
    assert (echo["protocol"], echo["port"]) == ("icmp", 0)
    tunnel = packets.describe(packets.ETH_P_IP, ipv4(47, "10.30.0.2", b"\0" * 4))
    assert tunnel is not None
    assert tunnel["protocol"] == "47"
    header = b"\x60" + b"\0" * 23 + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    six = packets.describe(packets.ETH_P_IPV6, header)
    assert six is not None
    assert six["destination"] == "2001:db8::1"


@pytest.mark.parametrize("frame", [(0x0806, b"\0" * 28), (packets.ETH_P_IP, b"\x45")])
def test_frames_that_are_no_ip_packets_are_left_out(frame: tuple[int, bytes]) -> None:
    assert packets.describe(*frame) is None


def test_destinations_are_folded_most_packets_first() -> None:
    one = {"protocol": "udp", "destination": "192.0.2.1", "port": 53}
    two = {"protocol": "tcp", "destination": "192.0.2.2", "port": 80}
    assert [entry["packets"] for entry in packets.destinations([one, two, two])] == [2, 1]


def request(opcode: int, body: bytes = b"", pid: int = 77) -> bytes:
    return cuse.REQUEST.pack(cuse.REQUEST.size + len(body), opcode, 5, 0, 0, 0, pid, 0) + body


def answer(of: bytes) -> tuple[bytes | None, int | None]:
    return cuse.answer(of, places.GPU_NODE.name, places.GPU_MAJOR, places.GPU_MINOR)


def test_the_gpu_node_asks_for_the_gpus_numbers() -> None:
    reply, opener = answer(request(cuse.CUSE_INIT, cuse.INIT_IN.pack(7, 36, 0, 0)))
    assert reply is not None
    assert opener is None
    numbers = cuse.INIT_OUT.unpack_from(reply, cuse.REPLY.size)
    assert numbers[6:] == (places.GPU_MAJOR, places.GPU_MINOR)
    assert reply.endswith(b"DEVNAME=nvidia0\0")


def test_an_open_is_granted_and_names_its_process() -> None:
    reply, opener = answer(request(cuse.FUSE_OPEN, pid=1234))
    assert opener == 1234
    assert reply is not None
    assert cuse.REPLY.unpack_from(reply) == (len(reply), 0, 5)


@pytest.mark.parametrize(("size", "data"), [(4096, b"data"), (2, b"da")])
def test_a_read_gives_no_more_than_was_asked_for(size: int, data: bytes) -> None:
    reply, _opener = answer(request(cuse.FUSE_READ, cuse.READ_IN.pack(1, 0, size)))
    assert reply is not None
    assert reply[cuse.REPLY.size :] == data


def test_unknown_requests_are_refused_and_interrupts_not_answered() -> None:
    reply, _opener = answer(request(39))
    assert reply is not None
    assert cuse.REPLY.unpack_from(reply)[1] == -errno.ENOSYS
    assert answer(request(cuse.FUSE_INTERRUPT)) == (None, None)


def test_sshds_log_is_counted() -> None:
    log = (
        "Connection from 10.20.1.2 port 40000 on 198.51.100.7 port 22\n"
        "Accepted publickey for root from 10.20.1.2 port 40000 ssh2\n"
        "debug1: Local forwarding listening on 127.0.0.1 port 2222.\n"
    )
    assert tunnel_host.facts(log) == {"connections": 1, "logins": 1, "forwards": 1}
    assert set(tunnel_host.facts("").values()) == {0}


def test_a_record_is_read_from_a_mark_on_and_awaited(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.jsonl")
    record.add(event="early")
    mark = record.mark()
    threading.Timer(0.05, record.add, kwargs={"event": "late"}).start()
    assert record.wait(mark, lambda entries: len(entries) == 1, timeout=30)
    assert [entry["event"] for entry in record.since(mark)] == ["late"]
    assert not record.wait(record.mark(), lambda entries: bool(entries), timeout=0.01)
    assert len((tmp_path / "record.jsonl").read_text().splitlines()) == 2


def test_the_wheel_holds_its_module_and_a_record_of_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(mirror.build_wheel(tmp_path)) as wheel:
        assert wheel.read("plumbline.py").decode() == mirror.MODULE
        record = wheel.read("plumbline-1.0.0.dist-info/RECORD").decode()
    assert record.startswith("plumbline.py,sha256=")
    assert record.endswith("RECORD,,\n")


def test_steps_have_names_of_their_own_and_each_attack_a_denial() -> None:
    names = [step.id for step in STEPS]
    assert len(set(names)) == len(names)
    assert all(step.denials for step in STEPS if step.attack)
    assert not any(step.denials for step in STEPS if not step.attack)
    by_name = {step.id: step for step in STEPS}
    assert all(by_name[step.beside].beside == step.id for step in STEPS if step.beside)
