# SPDX-License-Identifier: Apache-2.0
"""A listening port of this machine before a server: what a client sends there is passed on."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self
from urllib.parse import urlsplit

#: Bytes read at a time.
PIECE = 64 * 1024


class Relay:
    """Listens, and gives each connection a thread that runs `serve`. A context manager.

    What is behind it may change between connections.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Nothing is behind it yet. ``port``: 0: any that is free."""
        self._listener = socket.create_server((host, port), backlog=256)
        #: Host and port; known also after the end.
        self.address: tuple[str, int] = (host, int(self._listener.getsockname()[1]))
        self._behind = (host, 0)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._ended = False

    def stand_before(self, url: str) -> None:
        """Pass on to this host and port from now on."""
        parts = urlsplit(url)
        self._behind = (str(parts.hostname), int(parts.port or 80))

    def hang_up(self) -> None:
        """End every connection that is passed on."""
        with self._lock:
            ending, self._open = self._open, set()
        for end in ending:
            _shut_down(end)

    def serve(self, client: socket.socket) -> None:
        """Serve a connection; it is closed afterwards, and an `OSError` is the end of it."""
        self.pass_on(client)

    def pass_on(self, client: socket.socket, begun: bytes = b"") -> None:
        """Connect to what is behind, and let both talk until either ends.

        :param begun: what the client has sent already.
        """
        with socket.create_connection(self._behind) as server:
            server.sendall(begun)
            self.join(client, server)

    def join(self, client: socket.socket, server: socket.socket) -> None:
        """Let both talk until either ends."""
        with self._lock:
            if self._ended:
                return
            self._open |= {client, server}
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()
        with self._lock:
            self._open -= {client, server}

    def __enter__(self) -> Self:
        """Begin to answer."""
        threading.Thread(target=self._accept, name=type(self).__name__, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Answer no more."""
        with self._lock:
            self._ended = True
        _shut_down(self._listener)
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            self.serve(client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Everything, to the end of either."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    for end in (source, target):
        _shut_down(end)


def _shut_down(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
