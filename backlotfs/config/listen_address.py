# SPDX-License-Identifier: Apache-2.0
"""An address to listen on: ``127.0.0.1:9184``, ``[::1]:9184``, or ``:9184`` for all addresses."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from backlotfs.errors import SettingsError


class ListenAddress(NamedTuple):
    """An address to listen on. :ivar host: an IP address; empty: all addresses of this machine."""

    host: str
    port: int

    def __str__(self) -> str:
        """As it is written in options."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_listen_address(text: str) -> ListenAddress:
    """Read an address. Host names other than ``localhost`` are refused: their address may change.

    :raises SettingsError: the text is not such an address.
    """
    host, colon, digits = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    host = "127.0.0.1" if host == "localhost" else host
    try:
        is_ipv6 = bool(host) and ipaddress.ip_address(host).version == 6
        fits = bool(colon) and digits.isascii() and digits.isdigit() and bracketed == is_ipv6
        port = int(digits) if fits and len(digits) <= 5 else -1
    except ValueError:
        port = -1
    if not 0 <= port <= 65535 or "%" in host:
        raise SettingsError(
            f"{text!r} is not an address to listen on; write it like 127.0.0.1:9184, [::1]:9184, "
            "or :9184 for all addresses"
        )
    return ListenAddress(host, port)
