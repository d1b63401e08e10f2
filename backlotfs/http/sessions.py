"""HTTP sessions that carry nothing of the user's: no cookies, no ``.netrc``, no proxies.

The libraries' own log lines lose their query strings as soon as there is a session: they would hold
API signatures and signed URLs.
"""

from __future__ import annotations

import functools
import http.client
import socket
import ssl
import time
from http.cookiejar import DefaultCookiePolicy
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from backlotfs.concurrency.clock import Deadline
from backlotfs.config.time_limits import CONNECT_S, TimeLimits
from backlotfs.http.dialer import connect_to_any
from backlotfs.http.exchange_deadline import under_way
from backlotfs.http.library_logs import redact_library_logs
from backlotfs.http.resolver import look_up
from backlotfs.http.response import BoundedResponse
from backlotfs.http.tls import client_context

# one exchange in all: 64 KiB/s bring a page of 500 assets in 16 s
EXCHANGE_TIMEOUT_S = 60.0
# sockets refuse a timeout of 0
_LEAST_TIMEOUT_S = 0.001


class _Limited(HTTPConnection):
    """A connection whose exchanges end with the `exchange_deadline.Exchange` of their thread."""

    def connect(self) -> None:
        """Connect, and speak TLS where it is meant; all within the connection's timeout.

        :raises ConnectTimeoutError: not in time; a TLS handshake belongs to it.
        """
        try:
            super().connect()
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "connecting timed out") from error
        under_way().watch(cast("socket.socket", self.sock))

    def _new_conn(self) -> socket.socket:
        """As the base's, but its timeout is for the name and all addresses together, and for TLS.

        :raises NameResolutionError, ConnectTimeoutError, NewConnectionError: as the base does.
        """
        timeout_s = float(self.timeout or CONNECT_S)
        until_s = time.monotonic() + timeout_s
        try:
            return connect_to_any(look_up(self._dns_host, self.port, timeout_s), until_s)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "connecting timed out") from error
        except OSError as error:
            raise NewConnectionError(self, "no connection came about") from error

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request; a kept-alive connection is watched from here on."""
        if self.sock is not None:
            under_way().watch(self.sock)
        super().request(*args, **options)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as the base itself does
        """Read the head of the answer. :raises ExchangeTimeout: it was not there in time."""
        make = functools.partial(BoundedResponse, exchange=under_way())
        self.response_class = cast("type[http.client.HTTPResponse]", make)
        return super().getresponse()


class _LimitedTls(_Limited, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Limited


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _LimitedTls


class _Adapter(HTTPAdapter):
    """Connections that trust what our TLS context trusts, as those to source hosts do."""

    def __init__(self, context: ssl.SSLContext, pool_size: int) -> None:
        self._context = context  # the base's constructor makes the pools
        super().__init__(pool_connections=pool_size, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Hand the context and our connections to every pool."""
        super().init_poolmanager(*args, ssl_context=self._context, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

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
        """Never anywhere."""
        del resp
        return None


def open_session(
    *, user_agent: str, pool_size: int, ca_bundle: str | None = None
) -> requests.Session:
    """A session for many threads; the caller closes it.

    No retries of its own, no redirects followed, no cookies kept or sent, and nothing read from
    the environment: no ``.netrc``, no proxy, no ``REQUESTS_CA_BUNDLE``.

    :param pool_size: kept-alive connections per host: at least as many as threads that use it.
    :param ca_bundle: PEM file of certificate authorities to trust instead of the system's.
    :raises SettingsError: when ``ca_bundle`` cannot be used.
    """
    adapter = _Adapter(client_context(ca_bundle), pool_size)
    redact_library_logs()
    session = _PlainSession()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    # one encoding, so that `bounded_body` alone decides how far a body may grow
    session.headers.update({"User-Agent": user_agent, "Accept-Encoding": "gzip"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


def timeouts_s(deadline: Deadline, limits: TimeLimits) -> tuple[float, float]:
    """Connect and read timeout for one attempt: the limits, or what the deadline leaves."""
    remaining_s = max(_LEAST_TIMEOUT_S, deadline.remaining_s())
    return min(limits.connect_s, remaining_s), min(limits.answer_s, remaining_s)


def exchange_s(deadline: Deadline, limits: TimeLimits) -> float:
    """The total time of one attempt, in seconds, or what the deadline leaves of it.

    An API that takes its whole time before it answers has as much again for the answer.
    """
    total_s = max(EXCHANGE_TIMEOUT_S, 2 * limits.answer_s)
    return min(total_s, max(_LEAST_TIMEOUT_S, deadline.remaining_s()))
