# SPDX-License-Identifier: Apache-2.0
"""One GET of the API by `requests`, from a URL to a complete answer, with limits of size and time.

The use of `requests` is restricted: it sends and reads nothing of the user (no cookies, ``.netrc``
or proxy variable), it follows no redirect, every exchange has a time limit, a body is unpacked only
up to a limit, and no message or log line of a library contains a URL with its signature.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import http.client
import os
import socket
import ssl
import zlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from backlotfs.api.answers import MAX_BODY_BYTES, Answer, one_line
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.proxy import Proxy
from backlotfs.config.settings import hint_at_ignored_proxy
from backlotfs.config.time_limits import CONNECT_S, TimeLimits
from backlotfs.errors import (
    AnswerTimedOut,
    HostUnreachable,
    InvalidRangeResponse,
    LastingFailure,
    ProtocolViolation,
    RemoteUnavailable,
)
from backlotfs.http.connecting import Peer
from backlotfs.http.dialer import client_context
from backlotfs.http.exchange import BoundedResponse, Exchange, ExchangeTimeout
from backlotfs.http.proxy_tunnel import Dial, ProxyFailed, dial_for
from backlotfs.http.range_checks import doubtful_encoding
from backlotfs.log.redaction import redact_library_logs

# sockets refuse a timeout of 0
_LEAST_TIMEOUT_S = 0.001


#: The exchange of this thread; the connections that `requests` makes find it here.
_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)

#: Time limit for the answer of an address that may hang; None: the same as for other addresses.
_unproven_s: ContextVar[float | None] = ContextVar("unproven_s", default=None)


@contextlib.contextmanager
def _current_exchange(total_s: float) -> Iterator[Exchange]:
    """One exchange, which the connections of a session find by `_exchange_under_way`."""
    exchange = Exchange(total_s)
    token = _current.set(exchange)
    try:
        yield exchange
    finally:
        _current.reset(token)
        exchange.end()


def _exchange_under_way() -> Exchange:
    """The exchange of this thread; outside of `_current_exchange` a new one without a limit."""
    return _current.get() or Exchange()


#: Addresses that one call gives up with the short limit. After these the address has all the time
#: that is left, because an API with many addresses may just be slow.
MOST_HANGING = 4


class _AddressHangs(Exception):
    """An address accepted the connection and did not answer; the host has another address."""


class _Limited(HTTPConnection):
    """A connection whose exchanges have the time limits of their thread's `exchange.Exchange`."""

    def __init__(self, *args: Any, dial: Dial, **options: Any) -> None:
        super().__init__(*args, **options)
        self._dial = dial
        self._peer: Peer | None = None  # None again after the first answer on this connection

    def connect(self) -> None:
        """Connect, with TLS for https, within the connection's timeout.

        :raises ConnectTimeoutError: the connection, including TLS, was not ready in time.
        :raises _AddressHangs: the TLS handshake was not complete in time, and another address may
            answer.
        """
        try:
            super().connect()
        except OSError as error:
            hangs = self._may_hang()
            self._distrust()
            if isinstance(error, TimeoutError):
                if hangs:
                    raise _AddressHangs from None
                raise ConnectTimeoutError(self, "connecting timed out") from error
            raise
        _exchange_under_way().watch(cast("socket.socket", self.sock))

    def _new_conn(self) -> socket.socket:
        """Like the base class, but one timeout limits the look-up, all addresses and TLS together.

        :raises NameResolutionError, ConnectTimeoutError, NewConnectionError: like the base class.
        """
        self._peer = None
        try:
            opened = self._dial(self._dns_host, self.port, float(self.timeout or CONNECT_S))
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "connecting timed out") from error
        except OSError as error:
            raise NewConnectionError(self, "no connection came about") from error
        self._peer = opened.peer
        return opened.sock

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request; from now on the time limit applies to a kept-alive connection."""
        if self.sock is not None:
            _exchange_under_way().watch(self.sock)
        super().request(*args, **options)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as the base itself does
        """Read the head of the answer.

        :raises ExchangeTimeout: the head was not complete in time.
        :raises _AddressHangs: there was no answer in time, and another address may answer.
        """
        exchange = _exchange_under_way()
        make = functools.partial(BoundedResponse, exchange=exchange)
        self.response_class = cast("type[http.client.HTTPResponse]", make)
        hangs = self._may_hang()
        if hangs:
            exchange.limit(_unproven_s.get() or 0.0)
        try:
            response = super().getresponse()
        except (OSError, http.client.HTTPException):
            self._distrust()
            if hangs and exchange.over:
                raise _AddressHangs from None
            raise
        if self._peer is not None:
            self._peer.answered()
            self._peer = None
        return response

    def _may_hang(self) -> bool:
        limited = _unproven_s.get() is not None
        return limited and self._peer is not None and self._peer.may_hang()

    def _distrust(self) -> None:
        if self._peer is not None:
            self._peer.distrust()


class _LimitedTls(_Limited, HTTPSConnection):
    """A TLS connection whose exchanges have a time limit."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Limited


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _LimitedTls


class _Adapter(HTTPAdapter):
    """Makes connections with our TLS context, like the connections to source hosts."""

    def __init__(self, context: ssl.SSLContext, pool_size: int, dial: Dial) -> None:
        self._context, self._dial = context, dial  # the base's constructor makes the pools
        super().__init__(pool_connections=pool_size, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Give the TLS context and our connection classes to every pool."""
        super().init_poolmanager(*args, ssl_context=self._context, **options)
        self.poolmanager.pool_classes_by_scheme = {  # a pool passes ``dial`` to its connections
            "http": functools.partial(_Pool, dial=self._dial),
            "https": functools.partial(_TlsPool, dial=self._dial),
        }

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Always verify with the context only: requests would add its own CA bundle."""
        del url, verify, cert
        conn.cert_reqs = "CERT_REQUIRED"


class _PlainSession(requests.Session):
    """A session that treats no answer as a redirect.

    ``allow_redirects=False`` is not enough: requests still parses ``Location``, fails if it is
    malformed, and reads the whole body of any size before it returns the answer.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: no answer is treated as a redirect."""
        del resp
        return None


class _ProxiedSession(_PlainSession):
    """A session whose connections go through a proxy."""


def open_session(
    *, user_agent: str, pool_size: int, ca_bundle: str | None = None, proxy: Proxy | None = None
) -> requests.Session:
    """A session for many threads; the caller closes it.

    The session makes no retries, follows no redirects, keeps and sends no cookies, and reads
    nothing from the environment: no ``.netrc``, no proxy variable, no ``REQUESTS_CA_BUNDLE``.

    :param pool_size: kept-alive connections per host; at least the number of threads.
    :param ca_bundle: PEM file of certificate authorities to trust instead of the system's.
    :param proxy: the proxy of all connections; None: they are direct.
    :raises SettingsError: ``ca_bundle`` cannot be used.
    """
    adapter = _Adapter(client_context(ca_bundle), pool_size, dial_for(proxy))
    redact_library_logs()
    session = _PlainSession() if proxy is None else _ProxiedSession()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    # only gzip, which `BoundedBody` unpacks with a limit
    session.headers.update({"User-Agent": user_agent, "Accept-Encoding": "gzip"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


def timeouts_s(deadline: Deadline, limits: TimeLimits) -> tuple[float, float]:
    """Connect and read timeout of one attempt: the limits, or less if the deadline is sooner."""
    remaining_s = max(_LEAST_TIMEOUT_S, deadline.remaining_s())
    return min(limits.connect_s, remaining_s), min(limits.answer_s, remaining_s)


def exchange_s(deadline: Deadline, limits: TimeLimits) -> float:
    """Limit for the total time of one attempt in seconds; less if the deadline is sooner."""
    return min(limits.exchange_s, max(_LEAST_TIMEOUT_S, deadline.remaining_s()))


_GZIP_WBITS = 31


def _is_plain(encoding: str) -> bool:
    try:
        return not doubtful_encoding({"content-encoding": encoding})
    except InvalidRangeResponse:
        return False


class BodyTooLarge(Exception):
    """A body is larger than the limit, after decompression."""


class UnknownEncoding(Exception):
    """A body has an encoding that was not requested."""


class BoundedBody:
    """Collects a body piece by piece, in bounded memory; belongs to one thread."""

    def __init__(self, content_encoding: str | None, limit_bytes: int) -> None:
        """Collect nothing yet.

        :raises UnknownEncoding: the encoding is neither gzip nor "no encoding"; several encodings
            are refused too.
        """
        encoding = (content_encoding or "").strip().lower()
        is_gzip = encoding in ("gzip", "x-gzip")
        if not is_gzip and not _is_plain(encoding):
            raise UnknownEncoding(encoding)
        self._unzip = zlib.decompressobj(_GZIP_WBITS) if is_gzip else None
        self._limit_bytes = limit_bytes
        self._body = bytearray()
        self._begun = False

    def feed(self, piece: bytes) -> None:
        """Add the next bytes as they were received.

        :raises BodyTooLarge: the unpacked body exceeds the limit; at most one more byte is kept.
        :raises zlib.error: the compressed data is damaged.
        """
        self._begun = True
        room = self._limit_bytes - len(self._body) + 1
        if self._unzip is not None:
            if self._unzip.eof:
                return  # zlib would keep all that follows the end, and copy it each time
            # never 0, which would mean "no limit"
            piece = self._unzip.decompress(piece, room)
        self._body += piece[:room]
        if len(self._body) > self._limit_bytes:
            raise BodyTooLarge

    def whole(self) -> bytes:
        """The complete body; call it after the last `feed`.

        :raises zlib.error: the body ends within the compressed data.
        """
        if self._begun and self._unzip is not None and not self._unzip.eof:
            raise zlib.error("the compressed body ends early")
        return bytes(self._body)


# the base classes of all errors of an exchange
EXCHANGE_ERRORS = (
    OSError,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    zlib.error,
    ValueError,  # of URL and host name parsers; UnicodeError is a subclass
    requests.RequestException,
)
_UNKNOWN_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH)


#: Exceptions, the error that replaces them, and its message. The first row that matches counts, so
#: the most specific rows are first: a `ConnectionRefusedError` is also a `ConnectionError`.
_FAILURES: tuple[tuple[tuple[type[BaseException], ...], type[RemoteUnavailable], str], ...] = (
    (
        (UnicodeError, urllib3.exceptions.LocationParseError, requests.exceptions.InvalidURL),
        LastingFailure,
        "{} is not a usable host name",
    ),
    ((ConnectionRefusedError,), HostUnreachable, "{} refused the connection"),
    (
        (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError),
        HostUnreachable,
        "connecting to {} timed out",
    ),
    (
        (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError),
        AnswerTimedOut,
        "{} did not answer in time",
    ),
    (
        (urllib3.exceptions.DecodeError, zlib.error),
        RemoteUnavailable,
        "{} sent a damaged compressed answer",
    ),
    (
        (
            http.client.RemoteDisconnected,
            http.client.IncompleteRead,
            ConnectionError,
            urllib3.exceptions.IncompleteRead,
        ),
        RemoteUnavailable,
        "{} broke the connection off",
    ),
    ((http.client.HTTPException,), RemoteUnavailable, "{} does not speak proper HTTP"),
    ((urllib3.exceptions.ProtocolError,), RemoteUnavailable, "{} broke the connection off"),
)


def explain(error: BaseException, host: str, *, proxied: bool = False) -> RemoteUnavailable:
    """The error for a failed exchange with ``host``, from the most specific cause of ``error``.

    The exceptions of `requests` and urllib3 quote the URL with its signature, so their texts are
    never shown.

    :param proxied: whether a proxy is used; then no proxy variable is named.
    :returns: a `HostUnreachable` if the cause is the host name, the route, connecting, TLS or the
        proxy. Its message may name a proxy variable that is set, because backlotfs ignores it.
    """
    causes = list(_causes(error))
    failure = _explained(causes, host, type(error).__name__)
    known = (ssl.SSLError, UnicodeError, ProxyFailed)
    unclear = isinstance(failure, HostUnreachable) and not proxied
    if not unclear or any(isinstance(it, known) for it in causes):
        return failure
    hint = hint_at_ignored_proxy(os.environ, host.rsplit(":", 1)[0])
    return type(failure)(f"{failure}; {hint}") if hint else failure


#: OpenSSL's reasons when a server answers the TLS handshake with plain text.
_NO_TLS = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")


def _explained(causes: Sequence[BaseException], host: str, kind: str) -> RemoteUnavailable:
    for cause in causes:
        if isinstance(cause, ProxyFailed):
            return (LastingFailure if cause.lasting else HostUnreachable)(str(cause))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = one_line(str(getattr(cause, "verify_message", "")), 120) or "verification failed"
            return LastingFailure(f"the certificate of {host} is not trusted: {why}")
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "reason", None)
            if reason in _NO_TLS:
                return LastingFailure(
                    f"{host} answers without TLS: this port speaks plain http; write its address "
                    "with http:// if it is on this machine or your own network"
                )
            return HostUnreachable(f"TLS with {host} failed" + (f" ({reason})" if reason else ""))
        if isinstance(cause, socket.gaierror):
            if cause.errno in _UNKNOWN_NAME:
                return LastingFailure(f"host name {host} does not resolve")
            return HostUnreachable(f"host name {host} does not resolve at the moment")
        if isinstance(cause, OSError) and cause.errno in _NO_ROUTE:
            return HostUnreachable(f"there is no route to {host}")
    for kinds, failure, words in _FAILURES:
        if any(isinstance(cause, kinds) for cause in causes):
            return failure(words.format(host))
    return RemoteUnavailable(f"the request to {host} failed ({kind})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and all errors in its arguments, reason, cause and context, nearest first."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        nested = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
        waiting.extend(inner for inner in nested if isinstance(inner, BaseException))


_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Transport:
    """Makes complete exchanges with a session of `open_session`. Any thread may call it."""

    session: requests.Session
    clock: Clock
    limits: TimeLimits = field(default_factory=TimeLimits)

    def get(
        self,
        url: str,
        *,
        host: str,
        route: str,
        deadline: Deadline,
        accept: str = "application/json",
        limit_bytes: int = MAX_BODY_BYTES,
    ) -> Answer:
        """GET ``url`` and read the complete answer of any status; redirects are not followed.

        :param url: sent, but never shown, because it may contain a signature.
        :param host: the name of the host in messages.
        :param route: the path, for messages.
        :raises HostUnreachable: the connection or TLS failed.
        :raises AnswerTimedOut: no byte came for ``limits.answer_s``, or the answer was not complete
            within `exchange_s`, or its head within `time_limits.HEAD_TIMEOUT_S`.
        :raises RemoteUnavailable: the answer was cut off or malformed, or there was none. None of
            these errors contains the URL, nor does their cause or context.
        :raises DeadlineExceeded: the deadline passed during the exchange.
        :raises ProtocolViolation: more than ``limit_bytes`` after decompression, or an encoding
            that was not requested.
        """
        for _ in range(MOST_HANGING):
            token = _unproven_s.set(self.limits.unproven_s)
            try:
                return self._get_once(url, host, route, deadline, accept, limit_bytes)
            except _AddressHangs:  # the next attempt uses another address first
                deadline.check(f"the answer of {host} for {route}")
            finally:
                _unproven_s.reset(token)
        # perhaps the host is slow: this attempt has all the time that is left
        return self._get_once(url, host, route, deadline, accept, limit_bytes)

    def _get_once(
        self, url: str, host: str, route: str, deadline: Deadline, accept: str, limit_bytes: int
    ) -> Answer:
        total_s = exchange_s(deadline, self.limits)
        with _current_exchange(total_s) as exchange:
            try:
                response = self.session.get(
                    url,
                    headers={"Accept": accept},
                    timeout=timeouts_s(deadline, self.limits),
                    allow_redirects=False,
                    stream=True,
                )
                arrived_at_s = self.clock.now()
                exchange.limit(total_s)  # the shorter limit of the head is over
                with response:
                    body = _whole_body(response, host, route, deadline, limit_bytes)
                    exchange.check()  # a body that the time limit cut off may look complete
                return Answer(
                    host, route, response.status_code, response.headers, body, arrived_at_s
                )
            except EXCHANGE_ERRORS as error:
                cause = ExchangeTimeout() if exchange.over else error
                failure = explain(cause, host, proxied=isinstance(self.session, _ProxiedSession))
        # raised outside of the handler, so that the library's exception is not its context
        raise failure


def _whole_body(
    response: requests.Response, host: str, route: str, deadline: Deadline, limit_bytes: int
) -> bytes:
    answered = f"{host} answered {route}"
    encoding = response.headers.get("Content-Encoding")
    try:
        bounded = BoundedBody(encoding, limit_bytes)
        # read1 returns what has arrived, so the deadline is also checked for a slow answer
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
            bounded.feed(chunk)
            deadline.check(f"the answer of {host} for {route}")
        return bounded.whole()
    except BodyTooLarge:
        raise ProtocolViolation(f"{answered} with more than {limit_bytes >> 20} MiB") from None
    except UnknownEncoding:
        if not response.ok:
            return b""  # a proxy's error page: its status is enough
        raise ProtocolViolation(f"{answered} in an encoding that was not asked for") from None
