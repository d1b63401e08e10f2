"""HTTP sessions that carry nothing of the user's: no cookies, no ``.netrc``, no proxies.

Also the place where urllib3's own log lines lose their query strings: they would hold API
signatures and signed URLs.
"""

from __future__ import annotations

import logging
import os
import re
from http.cookiejar import DefaultCookiePolicy

import requests
from requests.adapters import HTTPAdapter

from backlotfs.clock import Deadline
from backlotfs.errors import SettingsError

# a TCP and TLS handshake takes three round trips: 4 s leaves room for one lost packet, and keeps
# "cannot reach the API" under the 5 s that a mount may take to say so
CONNECT_TIMEOUT_S = 4.0
# the longest silence between two packets of an answer; a page of 500 assets takes a server seconds
READ_TIMEOUT_S = 15.0
# sockets refuse a timeout of 0
_LEAST_TIMEOUT_S = 0.001

_CHATTY_LOGGERS = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
)
_QUERY = re.compile(r"\?[^\s\"'<>)]+")


class QueryRedactor(logging.Filter):
    """Takes every URL query out of a log record, and lets the record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; always true."""
        record.msg = _QUERY.sub("?<redacted>", record.getMessage())
        record.args = ()
        return True


_REDACTOR = QueryRedactor()


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
    *, user_agent: str, pool_size: int, ca_file: str | None = None
) -> requests.Session:
    """A session for many threads; the caller closes it.

    No retries of its own, no redirects followed, no cookies kept or sent, and nothing read from
    the environment: no ``.netrc``, no proxy, no ``REQUESTS_CA_BUNDLE``.

    :param pool_size: kept-alive connections per host: at least as many as threads that use it.
    :param ca_file: PEM file of certificate authorities to trust instead of the built-in ones.
    :raises SettingsError: when ``ca_file`` cannot be read.
    """
    if ca_file is not None and not (os.path.isfile(ca_file) and os.access(ca_file, os.R_OK)):
        raise SettingsError(f"the CA file {ca_file} cannot be read")
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).addFilter(_REDACTOR)
    session = _PlainSession()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    session.headers.update({"User-Agent": user_agent, "Accept-Encoding": "gzip, deflate"})
    session.verify = ca_file if ca_file is not None else True
    for scheme in ("http://", "https://"):
        session.mount(
            scheme,
            HTTPAdapter(pool_connections=pool_size, pool_maxsize=pool_size, max_retries=0),
        )
    return session


def timeouts_s(deadline: Deadline) -> tuple[float, float]:
    """Connect and read timeout for one attempt: the constants, or what the deadline leaves."""
    remaining_s = max(_LEAST_TIMEOUT_S, deadline.remaining_s())
    return min(CONNECT_TIMEOUT_S, remaining_s), min(READ_TIMEOUT_S, remaining_s)
