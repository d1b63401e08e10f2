# SPDX-License-Identifier: Apache-2.0
"""One GET of the API over `requests`, from a URL to a whole answer, bounded in size and time.

`requests` is held back in five ways: nothing of the user's goes along (no cookies, ``.netrc`` or
proxy variable), no redirect is followed, every exchange ends in time, a body is unpacked only as
far as there is room, and no message or log line of a library shows a URL with its signature.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import http.client
import logging
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

from backlotfs.api.answers import Answer, one_line
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
from backlotfs.log.redaction import RedactingFilter, redacted

_LIBRARIES = ("urllib3", "requests", "http.client")
_FILTER = RedactingFilter()
_HTTP_LOG = logging.getLogger("http.client")


def redact_library_logs() -> None:
    """Redact what urllib3, requests and `http.client` say from now on, on any handler.

    May be called again, from any thread.
    """
    for name in list(logging.Logger.manager.loggerDict):
        if name.startswith(_LIBRARIES):
            logging.getLogger(name).addFilter(_FILTER)
    # its ``debuglevel`` knows no logger: it calls print(), which is looked up in the module first
    http.client.print = _debug_line  # type: ignore[attr-defined]  # the name is ours to add


def _debug_line(*words: object, **_how: object) -> None:
    _HTTP_LOG.debug("%s", redacted(" ".join(str(word) for word in words)))


# sockets refuse a timeout of 0
_LEAST_TIMEOUT_S = 0.001


#: The exchange that this thread makes, for connections that a library makes.
_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)

#: How long it waits for the answer of an address that may hang; None: as for every other.
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
    """The exchange of this thread; outside of `_current_exchange` one that has no time limit."""
    return _current.get() or Exchange()


#: Addresses of one call that may hang: a slow API has several, too, and needs most of the time.
MOST_HANGING = 4


class _AddressHangs(Exception):
    """An address took the connection and did not answer; the host has another one."""


class _Limited(HTTPConnection):
    """A connection whose exchanges end with the `exchange.Exchange` of their thread."""

    def __init__(self, *args: Any, dial: Dial, **options: Any) -> None:
        super().__init__(*args, **options)
        self._dial = dial
        self._peer: Peer | None = None  # until it has answered over this connection

    def connect(self) -> None:
        """Connect, and speak TLS where it is meant; all within the connection's timeout.

        :raises ConnectTimeoutError: not in time; a TLS handshake belongs to it.
        :raises _AddressHangs: the same in the handshake, and the next address may do it.
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
        """As the base's, but its timeout is for the name and all addresses together, and for TLS.

        :raises NameResolutionError, ConnectTimeoutError, NewConnectionError: as the base does.
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
        """Send a request; a kept-alive connection is watched from here on."""
        if self.sock is not None:
            _exchange_under_way().watch(self.sock)
        super().request(*args, **options)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as the base itself does
        """Read the head of the answer.

        :raises ExchangeTimeout: it was not there in time.
        :raises _AddressHangs: the same, and the next address may answer within the same call.
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
    """A connection over TLS whose exchanges end in time."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Limited


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _LimitedTls


class _Adapter(HTTPAdapter):
    """Connections that trust what our TLS context trusts, as those to source hosts do."""

    def __init__(self, context: ssl.SSLContext, pool_size: int, dial: Dial) -> None:
        self._context, self._dial = context, dial  # the base's constructor makes the pools
        super().__init__(pool_connections=pool_size, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Hand the context and our connections to every pool."""
        super().init_poolmanager(*args, ssl_context=self._context, **options)
        self.poolmanager.pool_classes_by_scheme = {  # what a pool does not know, its connections do
            "http": functools.partial(_Pool, dial=self._dial),
            "https": functools.partial(_TlsPool, dial=self._dial),
        }

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Verify always, and by the context: requests would add its own bundle to each."""
        del url, verify, cert
        conn.cert_reqs = "CERT_REQUIRED"


class _PlainSession(requests.Session):
    """A session for which no answer is a redirect.

    ``allow_redirects=False`` is not enough: requests then still parses ``Location`` (and fails on
    a malformed one) and reads all of the body, however large, before it hands the answer over.
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

    No retries of its own, no redirects followed, no cookies kept or sent, and nothing read from
    the environment: no ``.netrc``, no proxy variable, no ``REQUESTS_CA_BUNDLE``.

    :param pool_size: kept-alive connections per host: at least as many as threads that use it.
    :param ca_bundle: PEM file of certificate authorities to trust instead of the system's.
    :param proxy: all connections go through it; None: they are direct.
    :raises SettingsError: when ``ca_bundle`` cannot be used.
    """
    adapter = _Adapter(client_context(ca_bundle), pool_size, dial_for(proxy))
    redact_library_logs()
    session = _PlainSession() if proxy is None else _ProxiedSession()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    # one encoding, so that `BoundedBody` alone decides how far a body may grow
    session.headers.update({"User-Agent": user_agent, "Accept-Encoding": "gzip"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


def timeouts_s(deadline: Deadline, limits: TimeLimits) -> tuple[float, float]:
    """Connect and read timeout for one attempt: the limits, or what the deadline leaves."""
    remaining_s = max(_LEAST_TIMEOUT_S, deadline.remaining_s())
    return min(limits.connect_s, remaining_s), min(limits.answer_s, remaining_s)


def exchange_s(deadline: Deadline, limits: TimeLimits) -> float:
    """The total time of one attempt, in seconds, or what the deadline leaves of it."""
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
    """A body has an encoding that was not asked for."""


class BoundedBody:
    """Collects a body piece by piece, in bounded memory; belongs to one thread."""

    def __init__(self, content_encoding: str | None, limit_bytes: int) -> None:
        """Nothing is collected yet.

        :raises UnknownEncoding: anything but gzip or words that mean none, in particular several.
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
        """Take the next bytes as they came.

        :raises BodyTooLarge: what is unpacked exceeds the limit; at most one byte more is held.
        :raises zlib.error: damaged.
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
        """The whole body, once no more comes.

        :raises zlib.error: it ends in the middle of the compressed data.
        """
        if self._begun and self._unzip is not None and not self._unzip.eof:
            raise zlib.error("the compressed body ends early")
        return bytes(self._body)


# every family that an exchange may raise; requests' own are OSErrors
EXCHANGE_ERRORS = (
    OSError,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    zlib.error,
    ValueError,  # of URL and host name parsers; UnicodeError is one
    requests.RequestException,
)
_UNKNOWN_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH)


#: Exceptions, the error that stands for them, and its words. The first row that fits counts, most
#: telling first: a refused connection is also an OSError inside a MaxRetryError.
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
    """The failure of an exchange with ``host``, by the most telling exception behind ``error``.

    The exceptions of `requests` and urllib3 quote the URL, and with it the signature: they are read
    here and never shown.

    :param proxied: whether a proxy is used, so that no variable is missed.
    :returns: a `HostUnreachable` only where no connection had come about. It names a proxy variable
        that is set, because nothing here obeys it.
    """
    causes = list(_causes(error))
    failure = _explained(causes, host, type(error).__name__)
    known = (ssl.SSLError, UnicodeError, ProxyFailed)
    unclear = isinstance(failure, HostUnreachable) and not proxied
    if not unclear or any(isinstance(it, known) for it in causes):
        return failure
    hint = hint_at_ignored_proxy(os.environ, host.rsplit(":", 1)[0])
    return type(failure)(f"{failure}; {hint}") if hint else failure


#: OpenSSL's reasons for a server that answers a TLS greeting with plain text.
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
    """``error`` and all it wraps: requests and urllib3 nest in arguments, reasons and contexts."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        nested = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
        waiting.extend(inner for inner in nested if isinstance(inner, BaseException))


# a page of 500 assets with metadata is about 1 MB; this much is a fault or a bomb
MAX_BODY_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Transport:
    """Makes whole exchanges over a session of `open_session`. Any thread may call it."""

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
        """GET ``url`` and read all of the answer, whatever its status; redirects are not followed.

        :param url: may hold a signature: it is sent, and never shown.
        :param host: how to name the other side in messages.
        :param route: the path, for messages.
        :raises HostUnreachable: no connection.
        :raises AnswerTimedOut: the other side was silent for longer than ``limits.answer_s``.
        :raises RemoteUnavailable: no answer, one that broke off, or one that was not whole within
            `exchange_s` or, its head, `http.exchange.HEAD_TIMEOUT_S`. Neither of them, nor
            anything in their chains, holds the URL.
        :raises DeadlineExceeded: the time ended while the answer was arriving.
        :raises ProtocolViolation: more than ``limit_bytes`` after decompression, or an encoding
            that was not asked for.
        """
        for _ in range(MOST_HANGING):
            token = _unproven_s.set(self.limits.unproven_s)
            try:
                return self._get_once(url, host, route, deadline, accept, limit_bytes)
            except _AddressHangs:  # it is tried last from now on
                deadline.check(f"the answer of {host} for {route}")
            finally:
                _unproven_s.reset(token)
        # it is slow, perhaps: now it has all the time that is left
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
                exchange.limit(total_s)  # the head's own, shorter time was kept
                with response:
                    body = _whole_body(response, host, route, deadline, limit_bytes)
                    exchange.check()  # a body that our own shutdown cut may look like a whole one
                return Answer(
                    host, route, response.status_code, response.headers, body, arrived_at_s
                )
            except EXCHANGE_ERRORS as error:
                cause = ExchangeTimeout() if exchange.over else error
                failure = explain(cause, host, proxied=isinstance(self.session, _ProxiedSession))
        # raised outside of the handler, so that the library's exception is not even our context
        raise failure


def _whole_body(
    response: requests.Response, host: str, route: str, deadline: Deadline, limit_bytes: int
) -> bytes:
    answered = f"{host} answered {route}"
    encoding = response.headers.get("Content-Encoding")
    try:
        bounded = BoundedBody(encoding, limit_bytes)
        # read1 hands over what has arrived: a trickle cannot outlast the deadline unseen
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
            bounded.feed(chunk)
            deadline.check(f"the answer of {host} for {route}")
        return bounded.whole()
    except BodyTooLarge:
        raise ProtocolViolation(f"{answered} with more than {limit_bytes >> 20} MiB") from None
    except UnknownEncoding:
        if not response.ok:
            return b""  # a proxy's page: the status says enough
        raise ProtocolViolation(f"{answered} in an encoding that was not asked for") from None
