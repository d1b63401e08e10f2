"""Why there was no answer, in words for a person.

The exceptions of ``requests`` and ``urllib3`` quote the URL, and with it the signature: they are
read here and never shown.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import requests
import urllib3

from backlotfs.api.server_text import one_line

# every family that an exchange may raise; requests' own are OSErrors
EXCHANGE_ERRORS = (
    OSError,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    zlib.error,
    ValueError,  # of URL and host name parsers; UnicodeError is one
    requests.RequestException,
)


class ConnectionFailure(NamedTuple):
    """What went wrong.

    :ivar words: one sentence with the host name; no URL.
    :ivar lasting: whether trying again cannot help.
    :ivar connected: whether it went wrong over a connection that had come about.
    :ivar timed_out: whether the other side was silent for too long over such a connection.
    """

    words: str
    lasting: bool = False
    connected: bool = True
    timed_out: bool = False


def explain(error: BaseException, host: str) -> ConnectionFailure:
    """Name the failure of an exchange with ``host`` by the most telling exception behind it."""
    causes = list(_causes(error))
    for test, words, lasting, connected in _CASES:
        for cause in causes:
            if test(cause):
                timed_out = connected and _is_timeout(cause)
                return ConnectionFailure(words(host, cause), lasting, connected, timed_out)
    return ConnectionFailure(f"the request to {host} failed ({type(error).__name__})")


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


def _is(*kinds: type[BaseException]) -> Callable[[BaseException], bool]:
    return lambda cause: isinstance(cause, kinds)


_is_timeout = _is(TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)


def _unknown_name(cause: BaseException) -> bool:
    return isinstance(cause, socket.gaierror) and cause.errno in (
        socket.EAI_NONAME,
        socket.EAI_NODATA,
    )


def _no_route(cause: BaseException) -> bool:
    return isinstance(cause, OSError) and cause.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)


def _certificate(host: str, cause: BaseException) -> str:
    detail = one_line(str(getattr(cause, "verify_message", "")), 120) or "verification failed"
    return f"the certificate of {host} is not trusted: {detail}"


def _tls(host: str, cause: BaseException) -> str:
    detail = getattr(cause, "reason", None)
    return f"TLS with {host} failed" + (f" ({detail})" if isinstance(detail, str) else "")


def _say(template: str) -> Callable[[str, BaseException], str]:
    return lambda host, _cause: template.format(host)


_Case = tuple[Callable[[BaseException], bool], Callable[[str, BaseException], str], bool, bool]
# then lasting, connected; most telling first: a refused connection is also an OSError inside a
# MaxRetryError
_CASES: tuple[_Case, ...] = (
    (_is(ssl.SSLCertVerificationError), _certificate, True, False),
    (_is(ssl.SSLError), _tls, False, False),
    (_unknown_name, _say("host name {} does not resolve"), True, False),
    (_is(socket.gaierror), _say("host name {} does not resolve at the moment"), False, False),
    (_is(UnicodeError, urllib3.exceptions.LocationParseError, requests.exceptions.InvalidURL),
     _say("{} is not a usable host name"), True, False),
    (_is(ConnectionRefusedError), _say("{} refused the connection"), False, False),
    (_no_route, _say("there is no route to {}"), False, False),
    (_is(requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError),
     _say("connecting to {} timed out"), False, False),
    (_is_timeout, _say("{} did not answer in time"), False, True),
    (_is(urllib3.exceptions.DecodeError, zlib.error),
     _say("{} sent a damaged compressed answer"), False, True),
    (_is(http.client.RemoteDisconnected, http.client.IncompleteRead, ConnectionError,
         urllib3.exceptions.IncompleteRead), _say("{} broke the connection off"), False, True),
    (_is(http.client.HTTPException), _say("{} does not speak proper HTTP"), False, True),
    (_is(urllib3.exceptions.ProtocolError), _say("{} broke the connection off"), False, True),
)  # fmt: skip
