# SPDX-License-Identifier: Apache-2.0
"""Addresses to listen on, as options name them."""

from __future__ import annotations

import pytest

from backlotfs.config.listen_address import ListenAddress, parse_listen_address
from backlotfs.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("127.0.0.1:9184", "127.0.0.1", 9184, "127.0.0.1:9184"),
        (":9184", "", 9184, ":9184"),
        ("[::1]:9184", "::1", 9184, "[::1]:9184"),
        ("localhost:0", "127.0.0.1", 0, "127.0.0.1:0"),
        ("0.0.0.0:65535", "0.0.0.0", 65535, "0.0.0.0:65535"),
    ],
)
def test_addresses(text: str, host: str, port: int, shown: str) -> None:
    """Host and port, and how they are written."""
    address = parse_listen_address(text)
    assert address == ListenAddress(host, port)
    assert str(address) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("", "9184", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "::1:9184"),
        *("[127.0.0.1]:9184", "[::1]", "[]:9184", "[fe80::1%lo]:9184", "example.com:9184"),
        *("http://127.0.0.1:9184", "127.0.0.1:-1", "127.0.0.1:²", "/run/metrics", "1.2.3.4:000080"),
    ],
)
def test_refused(text: str) -> None:
    """All else; the message shows how to write one."""
    with pytest.raises(SettingsError, match=r"is not an address to listen on; write it like"):
        parse_listen_address(text)
