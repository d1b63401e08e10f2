# SPDX-License-Identifier: Apache-2.0
"""Keeps connections to source hosts alive, sends ranged GETs over them, and reads the answers.

The GETs use the standard library's `http.client`, not `requests`. A presigned URL has to be sent
byte for byte as it was received (``%2F``, ``%2f``, a stray ``&``), and every client that normalises
URLs breaks some of them. Also, a body has to be readable in pieces without further copies.

No byte of a body is kept before the caller has checked the head (`http.range_checks`). Three tags
of an XML error body are read with patterns instead of an XML parser, because the body comes from
the network: a pattern over a text of limited size can neither expand entities nor recurse.

Threads: `ConnectionPool` may be called from any thread; a `RangeAnswer` belongs to the thread that
asked for it. The pool's lock is never held across I/O.
"""

from __future__ import annotations

import errno
import functools
import http.client
import math
import os
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import SystemClock
from backlotfs.config.proxy import Proxy
from backlotfs.config.settings import hint_at_ignored_proxy
from backlotfs.config.time_limits import (
    CONNECT_S,
    SMALL_BODY_S,
    STALL_TIMEOUT_S,
    UNPROVEN_S,
)
from backlotfs.errors import (
    HostUnreachable,
    LastingFailure,
    ProtocolViolation,
    RemoteUnavailable,
)
from backlotfs.http.circuit_breaker import Breakers
from backlotfs.http.dialer import Dialer, SourceConnection
from backlotfs.http.exchange import (
    Exchange,
    ExchangeTimeout,
    RangeResponse,
    UnclearBody,
    bound_waits,
    is_silent,
)
from backlotfs.http.proxy_tunnel import ProxyFailed

#: Idle connections older than this are closed instead of used: most servers drop them after 60 s.
IDLE_TIMEOUT_S = 45.0
#: Idle connections kept per host; more are closed when they come back.
IDLE_PER_HOST = 64
#: Idle connections kept in all: an API may name a new host, or port, for each asset.
IDLE_IN_ALL = 128


class Origin(NamedTuple):
    """Where a connection leads."""

    scheme: str
    host: str
    port: int


class _Target(NamedTuple):
    origin: Origin
    request_target: str


class _Idle(NamedTuple):
    """An idle connection; ``since_s`` is on the monotonic clock."""

    since_s: float
    origin: Origin
    connection: SourceConnection


@functools.lru_cache(maxsize=256)  # the GETs of one source have the same URL
def _split(url: str) -> _Target:
    """Split a URL without changing a byte of the part that is sent."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ProtocolViolation("the source URL cannot be parsed") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ProtocolViolation(f"a source URL of scheme {parts.scheme[:20]!r} is refused")
    after_host = url.split("://", 1)[1]
    starts = [at for at in (after_host.find("/"), after_host.find("?")) if at >= 0]
    target = after_host[min(starts) :] if starts else "/"
    target = target.split("#", 1)[0]
    if not target.startswith("/"):
        target = "/" + target
    default = 443 if parts.scheme == "https" else 80
    return _Target(Origin(parts.scheme, parts.hostname, port or default), target)


def origin_of(url: str) -> Origin:
    """Where a GET of this URL is sent. :raises ProtocolViolation: the URL is not plain http(s)."""
    return _split(url).origin


#: Skipped bytes are received into the same memory of this size.
_SKIP_BYTES = 256 * 1024


class RangeAnswer:
    """Status, headers and unread body of one GET. Close it, or use it as a context manager.

    :ivar host: host name, for messages.
    :ivar headers: see `RangeResponse.fields`.
    :ivar received_bytes: bytes of the body that `read_into` received, without the skipped ones.
    :ivar skipped_s: how long it took to skip bytes.
    :ivar rested_s: how long the receiver paused on purpose; the receiver adds the pauses.
    :ivar new_connection: whether it came over a connection that was made for this GET, also if a
        kept-alive connection was tried first and had been closed.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        origin: Origin,
        connection: SourceConnection,
        response: RangeResponse,
        exchange: Exchange,
        *,
        new_connection: bool,
    ) -> None:
        self._exchange = exchange
        self._pool = pool
        self._origin = origin
        self._connection = connection
        self._response = response
        self.host = origin.host
        self.new_connection = new_connection
        self.received_bytes = 0
        self.skipped_s = 0.0
        self.rested_s = 0.0
        self.status: int = response.status
        self.headers = response.fields

    def read(self, size: int) -> bytes:
        """Read exactly ``size`` bytes, or fewer at the end of the body, within `SMALL_BODY_S`.

        :raises RemoteUnavailable: when the transfer is cut or stalls.
        """
        self._exchange.limit(SMALL_BODY_S)
        # not the library's `read`, which reads without a limit if a chunk has the length -1
        data, filled = bytearray(size), 0
        try:
            while filled < size and (count := self._response.readinto(memoryview(data)[filled:])):
                filled += count
            self._exchange.check()  # our own shutdown may have cut the body
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._unavailable(error) from None
        return bytes(data[:filled])

    def read_into(self, views: Sequence[memoryview], timeout_s: float) -> int:
        """Fill ``views`` with the next bytes of the body; return how many came.

        :param timeout_s: limits the whole call; `STALL_TIMEOUT_S` limits each wait for a byte.
        :raises RemoteUnavailable: when the transfer is cut or stalls.
        """
        self._exchange.restart(timeout_s)
        try:
            deadline_s = time.monotonic() + timeout_s
            received = self._response.fill(views, STALL_TIMEOUT_S, deadline_s)
            if not received:
                self._exchange.check()  # our own shutdown looks like the end of the body
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._unavailable(error) from None
        self._exchange.restart(math.inf)  # nobody waits for the host until the next call
        self.received_bytes += received
        return received

    def skip(self, count: int, timeout_s: float) -> None:
        """Receive the next ``count`` bytes of the body, as `read_into` does, and drop them.

        :raises RemoteUnavailable: the transfer is cut or stalls, or the body ends too early.
        """
        began_s = time.monotonic()
        scratch = memoryview(bytearray(min(count, _SKIP_BYTES)))
        views = [scratch] * (count // len(scratch)) + [scratch[: count % len(scratch)]]
        if self.read_into([view for view in views if view], timeout_s) != count:
            raise RemoteUnavailable(f"source host {self.host}: the body ended early")
        self.received_bytes -= count
        self.skipped_s += time.monotonic() - began_s

    def _unavailable(self, error: Exception) -> RemoteUnavailable:
        if self._exchange.over:  # our own shutdown may look like another error
            error = ExchangeTimeout()
        return RemoteUnavailable(_words(self.host, error))

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it."""
        self._exchange.end()
        # A body that ended early leaves `length` above 0: its connection cannot be used again.
        whole = self._response.isclosed() and not self._response.length and not self._exchange.over
        reusable = whole and self._connection.sock is not None
        self._response.close()
        if reusable:
            self._pool.give_back(self._origin, self._connection)
        else:
            self._connection.close()

    def __enter__(self) -> RangeAnswer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ConnectionPool:
    """Idle kept-alive connections to any number of hosts. The newest is used first."""

    def __init__(
        self, dialer: Dialer, *, user_agent: str, breakers: Breakers | None = None
    ) -> None:
        """``dialer`` decides which hosts are connected to, and which certificates are trusted.

        :param breakers: limit attempts at unreachable hosts; None: new ones, by the system's clock.
        """
        self._dialer = dialer
        self._breakers = breakers or Breakers(SystemClock())
        self._user_agent = user_agent
        self._lock = threading.Lock()  # guards what follows
        self._closed = False
        self._idle: list[_Idle] = []  # the longest idle first
        self._idle_of: Counter[Origin] = Counter()

    def get(
        self,
        url: str,
        wanted: ByteRange,
        *,
        if_match: str | None = None,
        new_connection: bool = False,
        timeout_s: float = STALL_TIMEOUT_S,
        exchange: Exchange | None = None,
    ) -> RangeAnswer:
        """Send one ranged GET and wait for the head of the answer.

        :param url: sent as it is; never shown in an error.
        :param if_match: a strong ETag the object must still have (412 otherwise).
        :param new_connection: do not use an idle connection. A new one may lead to another node,
            and prefers another address of the host.
        :param timeout_s: limits the whole call, connecting included. Shorter limits hold for
            connecting (`CONNECT_S`), for the wait for the answer (`STALL_TIMEOUT_S`; `UNPROVEN_S`
            at the first address of several) and for the answer's head after its first bytes
            (`HEAD_TIMEOUT_S`).
        :param exchange: used instead of ``timeout_s``, so that another thread can cut it.
        :raises HostUnreachable: refused, unresolvable, TLS, no connection in time.
        :raises RemoteUnavailable: reset, timed out.
        :raises SourceRefused: our policy allows none of the host's addresses.
        :raises ProtocolViolation: for a URL that is not plain http(s).
        """
        origin, request_target = _split(url)
        headers = {
            "Range": wanted.header(),
            "Accept-Encoding": "identity",
            "User-Agent": self._user_agent,
        }
        if if_match is not None:
            headers["If-Match"] = if_match
        exchange = exchange or Exchange(timeout_s)
        while True:
            connection, kept_alive = self._take(origin, exchange.left_s, new=new_connection)
            try:
                make = functools.partial(RangeResponse, exchange=exchange)
                connection.response_class = cast("type[RangeResponse]", make)
                peer = connection.unproven
                may_hang = peer is not None and peer.may_hang(first=True)
                exchange.limit(UNPROVEN_S if may_hang else STALL_TIMEOUT_S)
                exchange.watch(connection.sock)
                connection.request("GET", request_target, headers=headers)
                response = cast("RangeResponse", connection.getresponse())
                if connection.unproven is not None:
                    connection.unproven.answered()
                    connection.unproven = None
            except (OSError, http.client.HTTPException, ValueError) as error:
                exchange.end()
                connection.close()
                if not kept_alive:
                    connection.distrust()
                if exchange.over:  # our own shutdown may look like another error
                    raise RemoteUnavailable(_words(origin.host, ExchangeTimeout())) from None
                # The host may have just closed a kept-alive connection: that is no failure.
                if kept_alive and not isinstance(error, TimeoutError):
                    continue
                raise RemoteUnavailable(_words(origin.host, error)) from None
            return RangeAnswer(
                self, origin, connection, response, exchange, new_connection=not kept_alive
            )

    def give_back(self, origin: Origin, connection: SourceConnection) -> None:
        """Keep a connection whose last answer was read to its end."""
        surplus: list[_Idle] = []
        now_s = time.monotonic()
        with self._lock:
            self._idle.append(_Idle(now_s, origin, connection))
            self._idle_of[origin] += 1
            while self._idle and self._idle[0].since_s < now_s - IDLE_TIMEOUT_S:
                surplus.append(self._remove(0))
            if self._idle_of[origin] > (0 if self._closed else IDLE_PER_HOST):
                of_host = (at for at, idle in enumerate(self._idle) if idle.origin == origin)
                surplus.append(self._remove(next(of_host)))
            elif len(self._idle) > IDLE_IN_ALL:
                surplus.append(self._remove(0))
        for old in surplus:
            old.connection.close()

    def close(self) -> None:
        """Close every idle connection, and from now on each that comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._idle_of.clear()
        for each in idle:
            each.connection.close()

    def _take(
        self, origin: Origin, timeout_s: float, *, new: bool
    ) -> tuple[SourceConnection, bool]:
        """The connection to ``origin`` used last, or a new one; and whether it was kept alive."""
        oldest_s = time.monotonic() - IDLE_TIMEOUT_S
        while not new and (idle := self._newest_idle(origin)) is not None:
            connection = idle.connection
            if idle.since_s >= oldest_s and connection.sock and is_silent(connection.sock):
                bound_waits(connection.sock, min(STALL_TIMEOUT_S, timeout_s))
                return connection, True
            connection.close()
        return self._connect(origin, timeout_s, another=new), False

    def _newest_idle(self, origin: Origin) -> _Idle | None:
        """Take the idle connection to ``origin`` that was used last; None if there is none."""
        with self._lock:
            if not self._idle_of[origin]:
                return None
            newest_first = range(len(self._idle) - 1, -1, -1)
            return self._remove(next(at for at in newest_first if self._idle[at].origin == origin))

    def _remove(self, at: int) -> _Idle:
        """Remove the idle connection at this index. The caller locks."""
        idle = self._idle.pop(at)
        self._idle_of[idle.origin] -= 1
        if not self._idle_of[idle.origin]:
            del self._idle_of[idle.origin]
        return idle

    def _connect(self, origin: Origin, timeout_s: float, *, another: bool) -> SourceConnection:
        timeout = max(0.05, min(CONNECT_S, timeout_s))
        place = f"source host {origin.host}:{origin.port}"
        self._breakers.check(place)
        proxy = self._dialer.proxy
        proxy_place = f"proxy {proxy}"
        if proxy is not None:
            self._breakers.check(proxy_place)
        try:
            connection = self._dialer.connect(
                origin.scheme, origin.host, origin.port, timeout_s=timeout, another=another
            )
        except (OSError, ValueError) as error:
            failure = _no_connection(origin.host, proxy, error)
            by_proxy = isinstance(error, ProxyFailed) and error.at_proxy
            self._breakers.failed(proxy_place if by_proxy else place, str(failure))
            raise failure from None
        self._breakers.reached(place)
        if proxy is not None:
            self._breakers.reached(proxy_place)
        connection.sock.settimeout(None)  # blocking; `bound_waits` limits each wait
        bound_waits(connection.sock, min(STALL_TIMEOUT_S, timeout_s))
        return connection


def small_body(answer: RangeAnswer, limit_bytes: int) -> bytes:
    """The beginning of a body whose content is not needed; empty if it cannot be read.

    If the body is read to its end, the connection can be used again.
    """
    try:
        return answer.read(limit_bytes)
    except RemoteUnavailable:
        return b""


def _no_connection(host: str, proxy: Proxy | None, error: Exception) -> HostUnreachable:
    if isinstance(error, ProxyFailed):
        return (LastingFailure if error.lasting else HostUnreachable)(str(error))
    words = _words(host, error, connecting=True)
    if proxy is not None:
        return HostUnreachable(f"{words} (through proxy {proxy})")
    hint = "" if isinstance(error, ssl.SSLError) else hint_at_ignored_proxy(os.environ, host)
    return HostUnreachable(f"{words}; {hint}" if hint else words)


_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH)


def _words(host: str, error: Exception, *, connecting: bool = False) -> str:
    """Our own text for a transport failure: that of the library may contain the signed URL."""
    if isinstance(error, socket.gaierror | UnicodeError):
        what = "its name does not resolve"
    elif connecting and isinstance(error, TimeoutError):
        what = "no connection came about in time"
    elif isinstance(error, OSError) and error.errno in _NO_ROUTE:
        what = "there is no route to it"
    elif isinstance(error, ExchangeTimeout):
        what = "its answer did not come in time"
    elif isinstance(error, TimeoutError):
        what = "no byte came in time"
    elif isinstance(error, ConnectionRefusedError):
        what = "it refuses the connection"
    elif isinstance(error, ssl.SSLCertVerificationError):
        what = f"its TLS certificate is not trusted: {error.verify_message}"
    elif isinstance(error, ssl.SSLError):
        what = "TLS failed"
    elif isinstance(error, OSError | http.client.RemoteDisconnected | http.client.IncompleteRead):
        what = "the connection was cut"
    else:
        why = error if isinstance(error, UnclearBody) else type(error).__name__
        what = f"it does not speak HTTP ({why})"
    return f"source host {host}: {what}"


#: Bytes of an error body that are read; usual ones have a few hundred.
ERROR_BODY_BYTES = 16 * 1024

_CODE = re.compile(r"<Code>\s*([A-Za-z0-9.]{1,64})\s*</Code>")
_MESSAGE = re.compile(r"<Message>\s*([^<]{0,300})")
_ACTUAL_SIZE = re.compile(r"<ActualObjectSize>\s*([0-9]{1,19})\s*</ActualObjectSize>")

#: Codes that may be shown. An unknown code may be any text, even the signature of the request.
_CODES = """
    AccessDenied AccountProblem AllAccessDisabled AuthorizationHeaderMalformed BadDigest BadRequest
    ExpiredToken InternalError InvalidAccessKeyId InvalidArgument InvalidBucketName
    InvalidObjectState InvalidRange InvalidRequest InvalidSecurity InvalidToken InvalidURI
    MethodNotAllowed MissingSecurityHeader NoSuchBucket NoSuchKey NoSuchVersion NotImplemented
    OperationAborted PermanentRedirect PreconditionFailed Redirect RequestTimeout
    RequestTimeTooSkewed ServiceUnavailable SignatureDoesNotMatch SlowDown TemporaryRedirect
    TokenRefreshRequired
"""
KNOWN_CODES = frozenset(_CODES.split())


class S3Error(NamedTuple):
    """The content of an error body of S3; empty strings for any other body.

    The code is one of `KNOWN_CODES` or empty. The message is evaluated here, but never shown.
    """

    code: str
    message: str
    actual_size: int | None

    @property
    def expired(self) -> bool:
        """Whether a fresh signature would help (API reference §8.3)."""
        return self.code == "ExpiredToken" or (
            self.code == "AccessDenied" and "expired" in self.message.lower()
        )


def parse_s3_error(body: bytes) -> S3Error:
    """Read code, message and the true size out of an error body; never raises."""
    text = body[:ERROR_BODY_BYTES].decode("utf-8", "replace")
    code, message, size = _CODE.search(text), _MESSAGE.search(text), _ACTUAL_SIZE.search(text)
    return S3Error(
        code=code.group(1) if code and code.group(1) in KNOWN_CODES else "",
        message=message.group(1).strip() if message else "",
        actual_size=int(size.group(1)) if size else None,
    )
