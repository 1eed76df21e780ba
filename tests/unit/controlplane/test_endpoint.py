# SPDX-License-Identifier: Apache-2.0
"""A token leaves this machine encrypted or not at all."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest

from controlplane.endpoint import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("unix:/run/a b.sock", Endpoint("http://lictor", "/run/a b.sock"), "unix:/run/a b.sock"),
        ("https://cp.example:8420", Endpoint("https://cp.example:8420"), None),
        ("https://cp.example/", Endpoint("https://cp.example"), "https://cp.example"),
        ("https://[2001:db8::1]:8420", Endpoint("https://[2001:db8::1]:8420"), None),
        ("https://192.0.2.7", Endpoint("https://192.0.2.7"), None),
        ("http://127.0.0.1:8420", Endpoint("http://127.0.0.1:8420"), None),
        ("http://[::1]:8420", Endpoint("http://[::1]:8420"), None),
        ("http://localhost", Endpoint("http://localhost"), None),
        ("HTTPS://CP.example", Endpoint("https://cp.example"), "https://cp.example"),
    ],
)
def test_an_address_is_understood(text: str, expected: Endpoint, shown: str | None) -> None:
    assert parse_endpoint(text) == expected
    assert str(parse_endpoint(text)) == (shown or text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("http://10.0.0.1:8420", "cross the network in the clear: use https"),
        ("http://cp.example", "cross the network in the clear: use https"),
        ("http://localhost.example", "cross the network in the clear: use https"),
        ("unix:relative.sock", "starts with '/'"),
        ("unix:", "starts with '/'"),
        ("", "is not unix:PATH or https://HOST:PORT"),
        ("cp.example:8420", "is not unix:PATH or https://HOST:PORT"),
        ("ftp://cp.example", "is not unix:PATH or https://HOST:PORT"),
        ("https://", "is not unix:PATH or https://HOST:PORT"),
        ("https://cp.example:port", "port"),
        ("https://cp.example:99999", "ort"),
        ("https://[::1", "Invalid IPv6 URL"),
        ("https://user:secret@cp.example", "only a host and a port may follow https://"),
        ("https://cp.example/v1", "only a host and a port may follow https://"),
        ("https://cp.example?x=1", "only a host and a port may follow https://"),
    ],
)
def test_a_wrong_address_is_named(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))) as caught:
        parse_endpoint(text)
    assert fault in str(caught.value)


def test_certificates_are_checked_on_https_only(tmp_path: Path) -> None:
    assert parse_endpoint("http://127.0.0.1").tls(None) is None
    context = parse_endpoint("https://cp.example").tls(None)
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    endpoint = parse_endpoint("https://cp.example")
    with pytest.raises(FileNotFoundError, match=r"absent\.pem"):
        endpoint.tls(tmp_path / "absent.pem")
    path = tmp_path / "odd.pem"
    path.write_text("no certificate")
    with pytest.raises(ValueError, match=r"odd\.pem: holds no certificate"):
        endpoint.tls(path)
