"""HTTP sessions that carry nothing of the user's: no cookies, no ``.netrc``, no proxies.

The libraries' own log lines lose their query strings as soon as there is a session: they would hold
API signatures and signed URLs.
"""

from __future__ import annotations

import ssl
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from backlotfs.clock import Deadline
from backlotfs.time_limits import TimeLimits
from backlotfs.wire.library_logs import redact_library_logs
from backlotfs.wire.tls import client_context

# sockets refuse a timeout of 0
_LEAST_TIMEOUT_S = 0.001


class _Adapter(HTTPAdapter):
    """Connections that trust what our TLS context trusts, as those to source hosts do."""

    def __init__(self, context: ssl.SSLContext, pool_size: int) -> None:
        self._context = context  # the base's constructor makes the pools
        super().__init__(pool_connections=pool_size, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Hand the context to every pool."""
        super().init_poolmanager(*args, ssl_context=self._context, **options)

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
