# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy that knows CONNECT and nothing else."""

from __future__ import annotations

import base64
import socket
from collections.abc import Mapping

from tests.support.relay import PIECE, Relay

_CONNECTED = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n"
_UNAUTHORIZED = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    b'Proxy-Authenticate: Basic realm="test"\r\nContent-Length: 0\r\n\r\n'
)


class ConnectProxy(Relay):
    """Connects clients to what they name, and keeps what it was asked for. A context manager.

    :ivar asked: ``HOST:PORT`` of each CONNECT. :ivar heads: the requests, byte for byte.
    :ivar places: `HOST:PORT` that stand for others; the proxy's own DNS, so to say.
    :ivar reply: sent instead of connecting, if it is not None; then the client has the word.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        places: Mapping[str, str] | None = None,
        credentials: str | None = None,
    ) -> None:
        """Listen; answer from ``__enter__`` on.

        :param credentials: ``NAME:PASSWORD`` that clients have to send.
        """
        super().__init__(port=port)
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.reply: bytes | None = None
        self.places = dict(places or {})
        self._wanted = credentials and base64.b64encode(credentials.encode()).decode()

    @property
    def url(self) -> str:
        """What ``--proxy`` takes."""
        return f"http://{self}"

    def __str__(self) -> str:
        """``HOST:PORT``."""
        host, port = self.address
        return f"{host}:{port}"

    def serve(self, client: socket.socket) -> None:
        """Answer the CONNECT of one connection."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = client.recv(PIECE)
            if not piece:
                return
            head += piece
        method, target = head.decode("latin-1").split()[:2]
        self.heads.append(head)
        self.asked.append(target)
        if self.reply is not None:
            client.sendall(self.reply)
            while client.recv(PIECE):
                pass
        elif method != "CONNECT":
            client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
        elif self._wanted and f"Proxy-Authorization: Basic {self._wanted}".encode() not in head:
            client.sendall(_UNAUTHORIZED)
        else:
            self._connect(client, self.places.get(target, target))

    def _connect(self, client: socket.socket, place: str) -> None:
        host, _, port = place.rpartition(":")
        try:
            server = socket.create_connection((host.strip("[]"), int(port)), 10)
        except OSError:
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        server.settimeout(None)
        with server:
            client.sendall(_CONNECTED)
            self.join(client, server)
