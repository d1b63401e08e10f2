# SPDX-License-Identifier: Apache-2.0
"""One HTTP exchange: its time limit, and its response, read without a copy.

A socket's own timeout limits one wait for bytes. A host that sends one byte every few seconds never
exceeds it, and would block the reading thread for ever. So each exchange has a time by which it has
to end. One thread of the process checks the exchanges under way every `WATCHDOG_S`, and shuts down
the socket of each exchange whose time is over. Then the blocked call returns, and `Exchange.check`
says why. An exchange has phases, and each phase sets its own limit with `Exchange.limit`: sending
and the wait for the answer; the answer's head after its first bytes; the body, or each part of it.

`http.client` reads through a buffer. It takes the beginning of the body together with the head,
wakes for every segment, and copies. Here the head is read exactly to its end, if the connection is
not TLS. Then the next byte of the socket is the first one of the body, and one system call can fill
many views.
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
from collections.abc import Mapping, Sequence
from email.errors import MissingHeaderBodySeparatorDefect
from types import MappingProxyType
from typing import IO, Any, cast

from backlotfs.config.time_limits import HEAD_TIMEOUT_S, WATCHDOG_S

#: Most bytes of an answer's head with all ``1xx`` answers before it; usual ones have some hundred.
MAX_HEAD_BYTES = 64 * 1024
#: The library allows 100 headers, but the metadata of an object can be more. `MAX_HEAD_BYTES`
#: limits them, too.
http.client._MAXHEADERS = 1000  # type: ignore[attr-defined]  # the name is the library's


class ExchangeTimeout(TimeoutError):
    """The time of an exchange was over before the exchange ended."""


class Exchange:
    """The time limit of one exchange; belongs to the thread that makes the exchange.

    :ivar over: whether the time was over before `end`; then the socket cannot be used any more.
    """

    __slots__ = ("_at_s", "_head_began", "_sock", "_total_at_s", "over")

    def __init__(self, total_s: float = math.inf) -> None:
        """Start counting now.

        :param total_s: seconds for the whole exchange; `limit` can only shorten them.
        """
        self._sock: socket.socket | None = None
        self.over = self._head_began = False
        self.restart(total_s)

    def restart(self, total_s: float) -> None:
        """Give the exchange ``total_s`` seconds from now on, for the next part of a body."""
        self._total_at_s = self._at_s = time.monotonic() + total_s

    def limit(self, seconds: float) -> None:
        """Limit the phase that begins now to ``seconds``, and to what is left of the total."""
        self._at_s = min(self._total_at_s, time.monotonic() + seconds)

    def limit_head(self) -> None:
        """Limit the answer's head, which has begun, to `HEAD_TIMEOUT_S` from the first call on."""
        if not self._head_began:
            self._head_began = True
            self.limit(HEAD_TIMEOUT_S)

    def cut(self) -> None:
        """End the exchange as if its time were over, from any thread; `restart` undoes that."""
        self._total_at_s = self._at_s = -math.inf

    def watch(self, sock: socket.socket) -> None:
        """Watch ``sock`` instead of the socket before; shut it down when the time is over.

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
        """:raises ExchangeTimeout: the time is over. The bytes read so far may be incomplete."""
        if self.over or self._at_s <= time.monotonic():
            self.over = True
            raise ExchangeTimeout("the answer did not come in time")

    def end(self) -> None:
        """Stop watching: the exchange is over, or its socket is about to be closed."""
        with _watchdog.wake:  # not during its shutdown: the descriptor may soon be used again
            _watchdog.under_way.discard(self)
        self._sock = None

    def _shut_down_if_due(self, now_s: float) -> bool:
        """Shut the socket down if the time is over, and return that; needs the watchdog's lock."""
        if self._at_s > now_s or self._sock is None:
            return False
        self.over = True
        with contextlib.suppress(OSError):  # closed already, by us or by the host
            # the method of `ssl.SSLSocket` would also remove the TLS state, which a reader uses
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
            if self._thread is None or not self._thread.is_alive():  # no thread survives a fork
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
#: The shortest timeout of a wait: a timeout of 0 would mean no timeout.
_LEAST_S = 0.05


def bound_waits(sock: socket.socket, seconds: float) -> None:
    """Limit each wait for a byte on ``sock``, which is in blocking mode unless it is TLS."""
    seconds = max(_LEAST_S, seconds)
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(seconds)
        return
    whole = int(seconds)
    packed = _TIMEVAL.pack(whole, int((seconds - whole) * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, packed)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, packed)


def is_silent(sock: socket.socket) -> bool:
    """Whether an idle connection has no events: the host neither closed it nor sent a byte.

    Bytes that a host sends behind an answer would be taken for the answer to the next request.
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
    """Reads a socket, and limits the size and the time of the head.

    On a plain socket the reads of the head stop at its end; TLS cannot look ahead.

    :ivar in_head: whether the next bytes belong to a head; the caller limits the body.
    :ivar at_body: whether exactly the head was read; never True for a TLS socket.
    """

    def __init__(self, sock: socket.socket, held: IO[bytes], exchange: Exchange) -> None:
        """``held``: keeps the socket open after its connection was closed; `close` closes it."""
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
        """Receive bytes, as the socket's ``recv_into`` does.

        :raises TimeoutError: no byte came in time. :raises HeadTooLarge: see there.
        """
        if self.in_head and self._head_bytes:
            self._check_head()
        self.at_body = False
        try:
            count = len(buffer)
            if self.in_head and not self._is_tls:
                count = self.sock.recv_into(buffer, 0, socket.MSG_PEEK)
                seen = self._seen + bytes(buffer[:count])
                end = _HEAD_END.search(seen)
                if end is not None:
                    count = end.end() - len(self._seen)
                    # if this was the head of a 1xx answer, a further head follows
                    self._seen, self.at_body = b"", True
                else:
                    self._seen = seen[-2:]
            count = self.sock.recv_into(buffer, count) if count else 0
        except BlockingIOError:
            raise TimeoutError("no byte came in time") from None
        if self.in_head:
            self._head_bytes += count
        return count

    def _check_head(self) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLarge(f"more than {MAX_HEAD_BYTES} bytes")
        self._exchange.limit_head()


class BoundedResponse(http.client.HTTPResponse):
    """A response whose head, with all ``1xx`` before it, is limited in bytes and in time.

    ``1xx`` answers (RFC 9110 §15.2) are skipped, but 101 is refused. The library skips 100 only: it
    would take a 103 for the answer, and the answer itself for the answer to the next request.

    To be used as `http.client.HTTPConnection.response_class`, with ``exchange`` filled in.
    """

    def __init__(self, sock: socket.socket, *args: Any, exchange: Exchange, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._exchange = exchange
        # after "Connection: close" the library closes its own reference to the socket
        self._reader = _HeadReader(sock, cast("IO[bytes]", self.fp), exchange)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read the head.

        :raises HeadTooLarge: it is too long. :raises ExchangeTimeout: it did not come in time.
        :raises UnclearBody: see there.
        """
        try:
            self._read_head()
        except (OSError, http.client.HTTPException):
            if self._exchange.over:  # our own shutdown may look like another error
                self._exchange.check()
            raise
        self._exchange.check()  # a head that our own shutdown cut looks complete
        self._reader.in_head = False

    def _read_head(self) -> None:
        super().begin()
        while 100 <= self.status < 200 and self.status != http.client.SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment]  # as before the first
            super().begin()
        self._check_framing()

    def _check_framing(self) -> None:
        """Find out where the body ends, also if the library does not.

        The library knows only the value ``chunked``, and takes any other value for no encoding. It
        ignores ``Content-Length: 5, 5``.

        :raises UnclearBody: see there.
        """
        if self.status == http.client.SWITCHING_PROTOCOLS:
            raise UnclearBody("another protocol, which was not asked for")
        lost = MissingHeaderBodySeparatorDefect  # the library drops this and all further lines
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
        """Check the line end behind a chunk; the library accepts any two bytes as one.

        :raises UnclearBody: there is no line end, so the next bytes are not the size of a chunk.
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
        """Whether the connection is closed after this response, though its end is known."""
        return bool(self._check_close())  # type: ignore[attr-defined]  # the library's

    def _values(self, name: str) -> list[str]:
        """The values of a header that is a list, in one line or in several; empty ones left out."""
        values = ",".join(self.headers.get_all(name, [])).split(",")
        return [value.strip() for value in values if value.strip()]


#: A head with a final status and a body. Each header is one line of printable ASCII.
_USUAL_HEAD = re.compile(
    rb"HTTP/1\.1 ((?!204|304)[2-5][0-9]{2})(?: [ -~]*)?\r\n"
    rb"((?:[A-Za-z0-9!#$%&'*+.^_`|~-]+:[\t -~]*\r\n)+)\r\n"
)
_HEADER = re.compile("([^:]+):([^\r]*)\r\n")
#: The place where a header's value continues in the next line (RFC 9112 §5.2).
_FOLD = re.compile(r"[ \t]*\r?\n[ \t]+")


class RangeResponse(BoundedResponse):
    """A response whose body can be received straight into the caller's memory.

    :ivar fields: the headers, to be used instead of ``headers`` and `getheader`, with names in
        lower case. Different values of one name are joined by commas (RFC 9110 §5.3), so neither of
        two contradictory values is used. Blanks around a value are removed, and the lines of a
        value are joined.
    """

    fields: Mapping[str, str] = MappingProxyType({})
    _bound_s = 0.0  # the present time limit of the socket for a wait

    def _read_head(self) -> None:
        # The library needs a quarter of all CPU time of a small GET to parse a head.
        if self._read_usual_head():
            return
        super()._read_head()
        values: dict[str, dict[str, None]] = {}
        for name, value in self.getheaders():
            value = _FOLD.sub(" ", value).strip(" \t")
            values.setdefault(name.lower(), {})[value] = None
        self.fields = {name: ", ".join(some) for name, some in values.items()}

    def _read_usual_head(self) -> bool:
        """Read a head that arrived as a whole and is in no way special; else read no byte."""
        head = _USUAL_HEAD.match(self.fp.peek())
        if head is None:
            return False
        lines = _HEADER.findall(head[2].decode("ascii"))
        fields = {name.lower(): value.strip(" \t") for name, value in lines}
        length = fields.get("content-length", "")
        if (
            len(fields) < len(lines)
            or "transfer-encoding" in fields
            or not _LENGTH.fullmatch(length)
        ):
            return False
        self.fp.read(head.end())
        self.fields = fields
        self.status = int(head[1])
        self.version, self.chunked, self.length = 11, False, int(length)
        self.will_close = "close" in fields.get("connection", "").lower()
        return True

    def fill(self, views: Sequence[memoryview], stall_s: float, deadline_s: float) -> int:
        """Receive the next bytes of the body into ``views``; return how many came.

        If that is less than the size of ``views``, no more bytes come: the body ended, the host
        stopped, or the time is over. A caller that wants more has to make a new request.

        :param stall_s: the longest wait without a byte.
        :param deadline_s: on the monotonic clock, when it has to end.
        :raises OSError, http.client.HTTPException: reading failed. Bytes that the call received
            before may be lost.
        """
        wanted = sum(map(len, views))
        one_call = self._reader.at_body and not self.chunked
        if not one_call or self.length is None or wanted > self.length:
            return self._fill_slowly(views, stall_s, deadline_s)
        sock = self._reader.sock
        received = silent = 0
        while True:
            # A wait that gets a byte returns it, so two waits without a byte are a stall.
            wait_s = min(stall_s / 2, deadline_s - time.monotonic())
            if wait_s <= 0 or silent == 2:
                if received:
                    return received
                raise TimeoutError("no byte came in time")
            if wait_s != self._bound_s:  # saves two system calls: it rarely changes
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
