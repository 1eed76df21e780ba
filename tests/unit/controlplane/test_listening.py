# SPDX-License-Identifier: Apache-2.0
"""Which addresses may be listened on, and which only with TLS."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controlplane.listening import PortAddress, UnixAddress, parse_listen


@pytest.mark.parametrize(
    ("text", "shown", "local"),
    [
        ("unix:/run/lictor-controlplane/api.sock", "unix:/run/lictor-controlplane/api.sock", True),
        ("127.0.0.1:8420", "127.0.0.1:8420", True),
        ("127.255.0.9:1", "127.255.0.9:1", True),
        ("[::1]:65535", "[::1]:65535", True),
        ("0.0.0.0:8420", "0.0.0.0:8420", False),
        ("[::]:8420", "[::]:8420", False),
        ("10.0.0.1:8420", "10.0.0.1:8420", False),
        ("[::ffff:127.0.0.1]:8420", "[::ffff:7f00:1]:8420", False),
        ("[fe80::1%1]:8420", "[fe80::1%1]:8420", False),
    ],
)
def test_an_address_is_local_or_not(text: str, shown: str, local: bool) -> None:
    [address] = parse_listen(text)
    assert (str(address), address.local) == (shown, local)


def test_several_addresses_stand_with_commas_between() -> None:
    found = parse_listen("unix:/a.sock, 127.0.0.1:8420,[::1]:8420")
    assert [type(address) for address in found] == [UnixAddress, PortAddress, PortAddress]
    assert found[0] == UnixAddress(Path("/a.sock"))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "'' is not unix:PATH"),
        ("unix:", "the path of a Unix socket starts with '/'"),
        ("unix:api.sock", "the path of a Unix socket starts with '/'"),
        ("unix:/" + "x" * 107, "longer than 107 bytes"),
        ("8420", "'8420' is not unix:PATH, ADDRESS:PORT or [ADDRESS]:PORT"),
        (":8420", "':8420' is not unix:PATH"),
        ("127.0.0.1", "'127.0.0.1' is not unix:PATH"),
        ("::1:8420", "'::1:8420' is not unix:PATH"),
        ("localhost:8420", "listen on an address, not on a name"),
        ("[127.0.0.1]:8420", "an IPv6 address stands in brackets"),
        ("127.0.0.1:0", "0 is outside the ports 1 to 65535"),
        ("127.0.0.1:65536", "65536 is outside the ports 1 to 65535"),
        ("127.0.0.1:8420,", "'' is not unix:PATH"),
        ("127.0.0.1:1,127.0.0.1:1", "127.0.0.1:1 is named twice"),
        ("http://127.0.0.1:8420", "is not unix:PATH"),
    ],
)
def test_an_address_that_cannot_be_used_is_named(text: str, cause: str) -> None:
    with pytest.raises(ValueError, match=re.escape(cause)):
        parse_listen(text)
