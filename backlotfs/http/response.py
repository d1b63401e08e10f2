"""An `http.client` response whose body can be received straight into the caller's memory.

`http.client` reads through a buffer, which swallows the beginning of the body together with the
head, wakes for every segment, and copies. Here the head is read exactly to its end, so that the
socket stands at the first byte of the body and one system call can fill many views.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from typing import IO, Any, cast

from backlotfs.http.exchange_deadline import MAX_HEAD_BYTES, Exchange

_HEAD_END = b"\r\n\r\n"
_TIMEVAL = struct.Struct("@ll")
#: Below this a timeout of 0 would mean none at all.
_LEAST_S = 0.05


def bound_waits(sock: socket.socket, seconds: float) -> None:
    """Let no wait for a byte on ``sock`` last longer. It is in blocking mode unless it is TLS."""
    seconds = max(_LEAST_S, seconds)
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(seconds)
        return
    whole = int(seconds)
    packed = _TIMEVAL.pack(whole, int((seconds - whole) * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, packed)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, packed)


class HeadTooLarge(http.client.HTTPException):
    """More bytes than `MAX_HEAD_BYTES` before the end of the head."""


class UnclearBody(http.client.HTTPException):
    """The head does not say where the body ends; what follows may be taken for another answer."""


class _HeadReader(io.RawIOBase):
    """The bytes of a socket, those of the head bounded in number and in time.

    On a plain socket the first reads stop where the head ends; TLS cannot look ahead.

    :ivar at_body: the head, and nothing beyond it, was read.
    """

    def __init__(self, sock: socket.socket, held: IO[bytes], exchange: Exchange) -> None:
        """``held``: what keeps the socket open after its connection was closed; closed with us."""
        self._sock = sock
        self._held = held
        self._exchange = exchange
        self._in_head = True
        self._head_bytes = 0
        # the last bytes of the head so far; None when it is read, or not looked for
        self._seen: bytes | None = None if isinstance(sock, ssl.SSLSocket) else b""
        self.at_body = False

    def head_ended(self) -> None:
        """What comes from now on is the body, whose time limit is the caller's."""
        self._in_head = False

    def close(self) -> None:
        """Let go of the socket."""
        if not self.closed:
            self._held.close()
        super().close()

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As the socket's ``recv_into``.

        :raises TimeoutError: no byte came in time. :raises HeadTooLarge: see there.
        """
        if self._in_head and self._head_bytes:
            self._check_head()
        try:
            count = self._receive(buffer)
        except BlockingIOError:
            raise TimeoutError("no byte came in time") from None
        if self._in_head:
            self._head_bytes += count
        return count

    def _check_head(self) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLarge(f"more than {MAX_HEAD_BYTES} bytes")
        self._exchange.limit_head()

    def _receive(self, buffer: Any) -> int:
        if self._seen is None:
            self.at_body = False
            return self._sock.recv_into(buffer)
        count = self._sock.recv_into(buffer, 0, socket.MSG_PEEK)
        seen = self._seen + bytes(buffer[:count])
        end = seen.find(_HEAD_END)
        if end >= 0:
            count = end + len(_HEAD_END) - len(self._seen)
            self._seen, self.at_body = None, True
        else:
            self._seen = seen[-(len(_HEAD_END) - 1) :]
        return self._sock.recv_into(buffer, count) if count else 0


class BoundedResponse(http.client.HTTPResponse):
    """A response whose head, with all ``1xx`` before it, is bounded in bytes and in time.

    ``1xx`` answers (RFC 9110 §15.2) are passed over. The library passes over 100 only: it would
    take a 103 for the answer, and the answer itself for that to the next request.

    For `http.client.HTTPConnection.response_class`, with ``exchange`` filled in.
    """

    def __init__(self, sock: socket.socket, *args: Any, exchange: Exchange, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._exchange = exchange
        # after "Connection: close" the library closes its own hold on the socket
        self._reader = _HeadReader(sock, cast("IO[bytes]", self.fp), exchange)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read the head.

        :raises HeadTooLarge: it has no end. :raises ExchangeTimeout: it was not there in time.
        :raises UnclearBody: see there.
        """
        try:
            super().begin()
            while 100 <= self.status < 200 and self.status != http.client.SWITCHING_PROTOCOLS:
                self.headers = self.msg = None  # type: ignore[assignment]  # as before the first
                super().begin()
            self._check_framing()
        except (OSError, http.client.HTTPException):
            if self._exchange.over:  # whatever the shut socket looked like
                self._exchange.check()
            raise
        self._exchange.check()  # a head that our own shutdown cut looks like a whole one
        self._reader.head_ended()

    def _check_framing(self) -> None:
        """:raises UnclearBody: see there."""
        if self.status == http.client.SWITCHING_PROTOCOLS:
            raise UnclearBody("another protocol, which was not asked for")
        encodings = self.headers.get_all("transfer-encoding", [])
        # the library takes what it does not know for a body without an encoding
        if encodings and (len(encodings) > 1 or not self.chunked):
            raise UnclearBody("a transfer encoding that was not asked for")
        if len(set(self.headers.get_all("content-length", []))) > 1:
            raise UnclearBody("more than one Content-Length")


class RangeResponse(BoundedResponse):
    """A response whose body can be received straight into the caller's memory."""

    def __init__(self, sock: socket.socket, *args: Any, exchange: Exchange, **kwargs: Any) -> None:
        super().__init__(sock, *args, exchange=exchange, **kwargs)
        self._sock = sock
        self._bound_s = 0.0
        self._plain = not isinstance(sock, ssl.SSLSocket)

    def fill(self, views: Sequence[memoryview], stall_s: float, deadline_s: float) -> int:
        """Receive the next bytes of the body into ``views``; how many came before it ended or hung.

        Fewer than there is room for are the last: a caller that wants more makes a new request.

        :param stall_s: the longest wait without a byte.
        :param deadline_s: on the monotonic clock, when it has to end.
        :raises OSError, http.client.HTTPException: as reading a socket does, before a first byte.
        """
        wanted = sum(map(len, views))
        whole = self.length is not None and wanted <= self.length and not self.chunked
        if not self._plain or not self._reader.at_body or not whole:
            return self._fill_slowly(views, stall_s, deadline_s)
        sock = self._sock
        received = silent = 0
        while True:
            # Two empty waits are a stall: one that began with a byte would give that byte.
            wait_s = min(stall_s / 2, deadline_s - time.monotonic())
            if wait_s <= 0 or silent == 2:
                if received:
                    return received
                raise TimeoutError("no byte came in time")
            if wait_s != self._bound_s:  # two system calls, and nearly always the same
                self._bound_s = wait_s
                bound_waits(sock, wait_s)
            try:
                count = sock.recvmsg_into(_after(views, received), 0, socket.MSG_WAITALL)[0]
            except BlockingIOError:
                silent += 1
                continue
            except OSError:
                if received:
                    return received
                raise
            silent = 0
            received += count
            self._took(count)
            if not count or received == wanted:
                return received

    def _took(self, count: int) -> None:
        assert self.length is not None
        self.length -= count
        if not self.length:
            self.close()

    def _fill_slowly(self, views: Sequence[memoryview], stall_s: float, deadline_s: float) -> int:
        received = 0
        for view in views:
            filled = 0
            while filled < len(view):
                remaining_s = deadline_s - time.monotonic()
                if remaining_s <= 0:
                    raise TimeoutError("not all came in time")
                if self.isclosed():
                    return received
                bound_waits(self._sock, min(stall_s, remaining_s))
                count = self.readinto(view[filled:])
                if not count:
                    return received
                filled += count
                received += count
        return received


def _after(views: Sequence[memoryview], count: int) -> Sequence[memoryview]:
    """``views`` without their first ``count`` bytes."""
    if not count:
        return views
    left: list[memoryview] = []
    for view in views:
        if count >= len(view):
            count -= len(view)
        else:
            left.append(view[count:])
            count = 0
    return left
