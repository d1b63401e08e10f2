# SPDX-License-Identifier: Apache-2.0
"""TLS before an emulator, which speaks none: whatever certificate a test wants is shown."""

from __future__ import annotations

import socket
import ssl

import trustme

from tests.support.relay import Relay


class TlsFront(Relay):
    """Passes on what it is told, once a client trusts it.

    Nobody is behind it at first, and it proves nothing. Its certificate may change between
    connections.
    """

    def __init__(self) -> None:
        super().__init__()
        self._certificate: trustme.LeafCert | None = None
        self._trusted = 0

    @property
    def url(self) -> str:
        """Where it is; a certificate for ``localhost`` is the right one."""
        return f"https://localhost:{self.address[1]}"

    @property
    def trusted(self) -> int:
        """How many handshakes a client has brought to their end."""
        return self._trusted

    def show(self, certificate: trustme.LeafCert) -> None:
        """Prove this from now on; every connection there is ends."""
        self._certificate = certificate
        self.hang_up()

    def serve(self, client: socket.socket) -> None:
        """Speak TLS, then pass on what is said."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        assert self._certificate is not None
        self._certificate.configure_cert(context)
        with context.wrap_socket(client, server_side=True) as trusted:
            self._trusted += 1
            self.pass_on(trusted)
