# SPDX-License-Identifier: Apache-2.0
"""One HTTP exchange: its time limit, and its response, read without a copy.

A socket's own timeout bounds one wait for bytes. A host that sends one byte every few seconds never
runs into it, and would hold the thread that reads from it for ever. So each exchange has a time by
which it has to end. One thread of the process looks every `WATCHDOG_S` at the exchanges under way
and shuts down the socket of each whose time is over: then the blocked call returns, and
`Exchange.check` says why. An exchange goes through phases, and each phase sets its own time with
`Exchange.limit`: sending and the silence before the answer; the rest of the answer's head; the
body, or each part of it.

`http.client` reads through a buffer, which swallows the beginning of the body together with the
head, wakes for every segment, and copies. Here the head is read exactly to its end, so that the
socket stands at the first byte of the body and one system call can fill many views.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import math
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from email.errors import MissingHeaderBodySeparatorDefect
from typing import IO, Any, cast

from backlotfs.config.time_limits import HEAD_TIMEOUT_S, WATCHDOG_S

#: Bytes of an answer's head, with all ``1xx`` answers before it; real ones have some hundred.
MAX_HEAD_BYTES = 64 * 1024
#: The library allows 100, and an object's metadata can be more; `MAX_HEAD_BYTES` bounds them too.
http.client._MAXHEADERS = 1000  # type: ignore[attr-defined]  # the name is the library's


class ExchangeTimeout(TimeoutError):
    """The time of an exchange was over before it ended, whatever came meanwhile."""


class Exchange:
    """The time limit of one exchange; belongs to the thread that makes the exchange.

    :ivar over: whether the time was over before `end`; the socket is of no use then.
    """

    __slots__ = ("_at_s", "_head_began", "_sock", "_total_at_s", "over")

    def __init__(self, total_s: float = math.inf) -> None:
        """Start counting now.

        :param total_s: seconds for all of it; `limit` can only shorten that.
        """
        self._sock: socket.socket | None = None
        self.over = self._head_began = False
        self.restart(total_s)

    def restart(self, total_s: float) -> None:
        """Give the exchange so many seconds in all from now on: for the next part of a body."""
        self._total_at_s = self._at_s = time.monotonic() + total_s

    def limit(self, seconds: float) -> None:
        """Give the phase that begins now so many seconds, and never more than the total leaves."""
        self._at_s = min(self._total_at_s, time.monotonic() + seconds)

    def limit_head(self) -> None:
        """Give the answer's head, which has begun, `HEAD_TIMEOUT_S` from the first such call on."""
        if not self._head_began:
            self._head_began = True
            self.limit(HEAD_TIMEOUT_S)

    def cut(self) -> None:
        """End the exchange as if its time were over, from any thread; `restart` undoes that."""
        self._total_at_s = self._at_s = -math.inf

    def watch(self, sock: socket.socket) -> None:
        """Shut ``sock`` down when the time is over; it takes the place of the socket before.

        :raises ExchangeTimeout: the time is over already.
        """
        self.check()
        if self._total_at_s < math.inf:
            self._sock = sock
            _watchdog.add(self)

    @property
    def left_s(self) -> float:
        """Seconds left in this phase, never negative."""
        return 0.0 if self.over else max(0.0, self._at_s - time.monotonic())

    def check(self) -> None:
        """:raises ExchangeTimeout: the time is over. What was read from the socket may be cut."""
        if self.over or self._at_s <= time.monotonic():
            self.over = True
            raise ExchangeTimeout("the answer did not come in time")

    def end(self) -> None:
        """Stop watching: the exchange is over, or its socket is about to be closed."""
        with _watchdog.wake:  # never while it is shut down: the socket's number may be used again
            _watchdog.under_way.discard(self)
        self._sock = None

    def _shut_down_if_due(self, now_s: float) -> bool:
        """Whether the time was over; called with the watchdog's lock held."""
        if self._at_s > now_s or self._sock is None:
            return False
        self.over = True
        with contextlib.suppress(OSError):  # closed, or the host was faster
            # not the method of `ssl.SSLSocket`, which takes the TLS state from under its reader
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        return True


class _Watchdog:
    """The thread that ends exchanges, and the exchanges under way."""

    def __init__(self) -> None:
        self.wake = threading.Condition()
        self.under_way: set[Exchange] = set()
        self._thread: threading.Thread | None = None

    def add(self, exchange: Exchange) -> None:
        with self.wake:
            if not self.under_way:
                self.wake.notify()
            self.under_way.add(exchange)
            if self._thread is None or not self._thread.is_alive():  # a fork leaves no threads
                self._thread = threading.Thread(
                    target=self._run, name="exchange-watchdog", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self.wake:
                while not self.under_way:
                    self.wake.wait()
                now_s = time.monotonic()
                due = [each for each in self.under_way if each._shut_down_if_due(now_s)]
                self.under_way.difference_update(due)
            time.sleep(WATCHDOG_S)


_watchdog = _Watchdog()


#: The end of a line and an empty line, each with or without CR (RFC 9112 §2.2).
_HEAD_END = re.compile(rb"\n\r?\n")
_TIMEVAL = struct.Struct("@ll")
_LENGTH = re.compile("[0-9]{1,19}", re.ASCII)
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


def is_silent(sock: socket.socket) -> bool:
    """Whether an idle connection has nothing to say: the host neither closed it nor sent a byte.

    What a host sends behind an answer would be taken for the answer to the next request.
    """
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return False
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return not poller.poll(0)


class HeadTooLarge(http.client.HTTPException):
    """More bytes than `MAX_HEAD_BYTES` before the end of the head."""


class UnclearBody(http.client.HTTPException):
    """The head does not say where the body ends; what follows may be taken for another answer."""


class _HeadReader(io.RawIOBase):
    """The bytes of a socket, those of the head bounded in number and in time.

    On a plain socket the first reads stop where the head ends; TLS cannot look ahead.

    :ivar in_head: whether the next bytes are of a head; what follows is the caller's to bound.
    :ivar at_body: the head, and nothing beyond it, was read; never of a TLS socket.
    """

    def __init__(self, sock: socket.socket, held: IO[bytes], exchange: Exchange) -> None:
        """``held``: what keeps the socket open after its connection was closed; closed with us."""
        self.sock = sock
        self._held = held
        self._exchange = exchange
        self.in_head = True
        self._head_bytes = 0
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._seen = b""  # the last bytes of the head so far
        self.at_body = False

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
        if self.in_head and self._head_bytes:
            self._check_head()
        try:
            count = self._receive(buffer)
        except BlockingIOError:
            raise TimeoutError("no byte came in time") from None
        if self.in_head:
            self._head_bytes += count
        return count

    def _check_head(self) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLarge(f"more than {MAX_HEAD_BYTES} bytes")
        self._exchange.limit_head()

    def _receive(self, buffer: Any) -> int:
        self.at_body = False
        if self._is_tls or not self.in_head:
            return self.sock.recv_into(buffer)
        count = self.sock.recv_into(buffer, 0, socket.MSG_PEEK)
        seen = self._seen + bytes(buffer[:count])
        end = _HEAD_END.search(seen)
        if end is not None:
            count = end.end() - len(self._seen)
            # a further head may follow, if this was that of a 1xx
            self._seen, self.at_body = b"", True
        else:
            self._seen = seen[-2:]
        return self.sock.recv_into(buffer, count) if count else 0


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
        self._reader.in_head = False

    def _check_framing(self) -> None:
        """Say where the body ends, also where the library does not know.

        It knows one spelling of ``chunked``, and takes what it does not know for no encoding; of
        ``Content-Length: 5, 5`` it makes no length.

        :raises UnclearBody: see there.
        """
        if self.status == http.client.SWITCHING_PROTOCOLS:
            raise UnclearBody("another protocol, which was not asked for")
        lost = MissingHeaderBodySeparatorDefect  # the library drops the line and all behind it
        if any(isinstance(defect, lost) for defect in self.headers.defects):
            raise UnclearBody("a line of its head is no header")
        plain = "transfer-encoding" not in self.headers and self.length is not None
        if plain and len(self.headers.get_all("content-length", [])) == 1:
            return  # nearly always
        encodings = [one.lower() for one in self._values("transfer-encoding")]
        encodings = [one for one in encodings if one != "identity"]
        lengths = set(self._values("content-length"))
        if encodings and encodings != ["chunked"]:
            raise UnclearBody("a transfer encoding that was not asked for")
        if len(lengths) > 1:
            raise UnclearBody("more than one Content-Length")
        if encodings and not self.chunked:
            self.chunked, self.chunk_left, self.length = True, None, None
            self.will_close = self._closes()
        elif lengths and self.length is None and not self.chunked:
            (length,) = lengths
            if not _LENGTH.fullmatch(length):
                raise UnclearBody("a Content-Length that is no number")
            self.length = int(length)
            self.will_close = self._closes()

    def _get_chunk_left(self) -> int | None:
        """As the library does, which takes any two bytes for the line end behind a chunk.

        :raises UnclearBody: there is none, so that what follows is not the size of a chunk.
        """
        if self.chunk_left == 0:
            end = self.fp.readline(2)
            if not end:
                raise http.client.IncompleteRead(b"")
            if end not in (b"\r\n", b"\n"):
                raise UnclearBody("no line end behind a chunk")
            self.chunk_left = None
        left: int | None = super()._get_chunk_left()  # type: ignore[misc]  # the library's
        return left

    def _closes(self) -> bool:
        """Whether the connection ends with this response, whose end is known."""
        return bool(self._check_close())  # type: ignore[attr-defined]  # the library's

    def _values(self, name: str) -> list[str]:
        """The values of a header that is a list, in one line or in several; empty ones left out."""
        values = ",".join(self.headers.get_all(name, [])).split(",")
        return [value.strip() for value in values if value.strip()]


class RangeResponse(BoundedResponse):
    """A response whose body can be received straight into the caller's memory."""

    _bound_s = 0.0  # the time limit of a wait that the socket has now

    def fill(self, views: Sequence[memoryview], stall_s: float, deadline_s: float) -> int:
        """Receive the next bytes of the body into ``views``; how many came before it ended or hung.

        Fewer than there is room for are the last: a caller that wants more makes a new request.

        :param stall_s: the longest wait without a byte.
        :param deadline_s: on the monotonic clock, when it has to end.
        :raises OSError, http.client.HTTPException: as reading a socket does, before a first byte.
        """
        wanted = sum(map(len, views))
        one_call = self._reader.at_body and not self.chunked
        if not one_call or self.length is None or wanted > self.length:
            return self._fill_slowly(views, stall_s, deadline_s)
        sock = self._reader.sock
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
                count = sock.recvmsg_into(views, 0, socket.MSG_WAITALL)[0]
            except BlockingIOError:
                silent += 1
                continue
            except OSError:
                if received:
                    return received
                raise
            silent = 0
            received += count
            self.length -= count
            if not self.length:
                self.close()
            if not count or received == wanted:
                return received
            views = _after(views, count)

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
                bound_waits(self._reader.sock, min(stall_s, remaining_s))
                count = self.readinto(view[filled:])
                if not count:
                    return received
                filled += count
                received += count
        return received


def _after(views: Sequence[memoryview], count: int) -> Sequence[memoryview]:
    """``views`` without their first ``count`` bytes."""
    left: list[memoryview] = []
    for view in views:
        if count >= len(view):
            count -= len(view)
        else:
            left.append(view[count:])
            count = 0
    return left
