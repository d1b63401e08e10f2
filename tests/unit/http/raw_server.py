# SPDX-License-Identifier: Apache-2.0
"""A server that sends scripted bytes over real sockets and keeps what it was sent."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from types import TracebackType
from typing import NamedTuple, Self


class Reply(NamedTuple):
    """What comes back for one request head.

    :ivar text: sent as it is; nothing at all when None.
    :ivar hang_up: close the connection afterwards.
    """

    text: bytes | None
    hang_up: bool = False


def ok(body: bytes, *, promised: int | None = None, hang_up: bool = False) -> Reply:
    """A 206 whose Content-Length may promise more than comes."""
    length = len(body) if promised is None else promised
    head = f"HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\nX-Mark: YES\r\n\r\n"
    return Reply(head.encode() + body, hang_up)


class RawServer:
    """Answers each request, on whatever connection it comes, with the next reply of the script."""

    def __init__(self, *replies: Reply, host: str = "127.0.0.1", port: int = 0) -> None:
        self._replies = deque(replies)
        #: Heads of the requests, byte for byte, with the number of the connection they came on.
        self.requests: list[tuple[int, bytes]] = []
        self._listener = socket.create_server((host, port))
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}"

    @property
    def targets(self) -> list[bytes]:
        """What stood between ``GET`` and the protocol, per request."""
        return [head.split(b" ")[1] for _, head in self.requests]

    @property
    def connections(self) -> list[int]:
        """The number of the connection, from 0, per request."""
        return [number for number, _ in self.requests]

    def reply_to(self, _head: bytes) -> Reply:
        """The next reply of the script."""
        return self._replies.popleft()

    def hang_up(self) -> None:
        """Close every open connection, as a server does with idle ones; wait until it is done."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(5)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(5)
        self.hang_up()

    def _start(self, work: object, *args: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._start(self._serve, len(self._connections) - 1, connection)

    def _serve(self, number: int, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            while True:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = stream.readline()
                    if not line:
                        return
                    head += line
                self.requests.append((number, head))
                reply = self.reply_to(head)
                if reply.text is not None:
                    connection.sendall(reply.text)
                if reply.hang_up:
                    return
