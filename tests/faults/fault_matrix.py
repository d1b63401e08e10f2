# SPDX-License-Identifier: Apache-2.0
"""The fault matrix of one ranged GET: what the origin does, and what a reader and the origin see.

Every row is met twice: once in passing (`test_fault_matrix`: the reader gets the right bytes), and
for good (the reader gets an errno). `FORMS` are no faults: a reader gets the right bytes.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from backlotfs.emulator import Fault
from backlotfs.errors import (
    BacklotError,
    ContentChanged,
    DeadlineExceeded,
    InvalidRangeResponse,
    RemoteUnavailable,
    SourceDenied,
)
from backlotfs.http.backoff import RetryPolicy
from backlotfs.source.signed_get import MAX_EXPIRED

SIZE = 300_000
ATTEMPTS = RetryPolicy().max_attempts
_WHOLE_206 = {"Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"}
_EXPIRED = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
_OLD_TOKEN = "<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"


class Row(NamedTuple):
    """One fault.

    :ivar error: what a read gets when it lasts.
    :ivar errno: what the application sees then.
    :ivar status: in the origin's log; None where no head was sent.
    :ivar gets: GETs of a read when it lasts, all of the same range.
    :ivar renewals: calls of the API for a new URL when it lasts.
    :ivar renewals_once: the same when it strikes once; None: it is believed at once, so that a
        fault that strikes once ends the handle as well.
    """

    fault: Fault
    error: type[BacklotError]
    errno: int
    status: int | None
    gets: int = ATTEMPTS
    renewals: int = 0
    renewals_once: int | None = 0


def _false(fault: Fault, status: int) -> Row:
    """An answer that cannot be what was asked for."""
    return Row(fault, InvalidRangeResponse, errno.EIO, status)


def _failing(status: int, fault: Fault | None = None) -> Row:
    """The host says that it cannot answer now."""
    return Row(fault or Fault.status(status), RemoteUnavailable, errno.EIO, status)


def _denied(status: int) -> Row:
    """Refused, and not for the URL's age: one new URL is tried."""
    return Row(Fault.status(status), SourceDenied, errno.EACCES, status, 2, 1, 1)


def _expired(status: int, body: str) -> Row:
    """The URL is too old, it says: a new one each time, without a pause."""
    fault = Fault.status(status, body, content_type="application/xml")
    return Row(fault, DeadlineExceeded, errno.ETIMEDOUT, status, MAX_EXPIRED + 1, MAX_EXPIRED, 1)


def _gone(status: int) -> Row:
    """It was there when the file was opened: not what this handle is of."""
    return Row(Fault.status(status), ContentChanged, errno.ESTALE, status, 2, 1, 1)


def _refuses_if_match(status: int) -> Row:
    """``If-Match`` is left out from then on; without it the answer makes no sense."""
    fault = Fault.status(status)
    return Row(fault, InvalidRangeResponse, errno.EIO, status, gets=ATTEMPTS + 1)


def _changed(status: int) -> Row:
    """Another version, beyond doubt."""
    return Row(Fault.status(status), ContentChanged, errno.ESTALE, status, 1, 0, None)


def _asks_for_a_pause(status: int) -> Row:
    """Longer than any read may last: said at once, instead of waiting in vain."""
    fault = Fault.status(status, headers={"Retry-After": "60"})
    return Row(fault, DeadlineExceeded, errno.ETIMEDOUT, status, 1, 0, None)


MATRIX: dict[str, Row] = {
    # One more GET when it lasts: that a kept-alive connection was closed is no failure of the host.
    "reset before the head": Row(
        Fault.reset(-1), RemoteUnavailable, errno.EIO, None, gets=ATTEMPTS + 1
    ),
    "an empty body": _failing(206, Fault.short_body(0)),
    "200 with a page": _false(Fault.status(200, "<html>"), 200),
    "204": _false(Fault.of("no_content"), 204),
    "no Content-Range": _false(Fault.of("missing_range"), 206),
    "a Content-Range further on": _false(Fault.wrong_range(5), 206),
    "a Content-Range before": _false(Fault.wrong_range(-1), 206),
    "a garbled Content-Range": _false(
        Fault.status(206, b"x" * SIZE, headers={"Content-Range": f"bytes 0-{SIZE - 1}"}), 206
    ),
    "a 206 without a validator": _false(
        Fault.status(206, b"x" * SIZE, headers={"Content-Range": f"bytes 0-{SIZE - 1}/*"}), 206
    ),
    "a 206 with a short Content-Length": _false(
        Fault.status(206, b"x" * 100, headers=_WHOLE_206), 206
    ),
    "a 206 with a long Content-Length": _false(
        Fault.status(206, b"x" * (SIZE + 5), headers=_WHOLE_206), 206
    ),
    "gzip, not asked for": _false(Fault.of("gzip"), 206),
    "a redirect to nowhere": _false(Fault.redirect(""), 302),
    "304": _false(Fault.status(304), 304),
    "400": _refuses_if_match(400),
    "402": _false(Fault.status(402), 402),
    "405": _false(Fault.status(405), 405),
    "407": _false(Fault.status(407, headers={"Proxy-Authenticate": "Basic"}), 407),
    "409": _false(Fault.status(409), 409),
    "451": _false(Fault.status(451, "<html>Unavailable"), 451),
    "400 ExpiredToken": _expired(400, _OLD_TOKEN),
    "401": _denied(401),
    "403 expired": _expired(403, _EXPIRED),
    "403 otherwise": _denied(403),
    "404": _gone(404),
    "410": _gone(410),
    "412": _refuses_if_match(412),
    "501": _refuses_if_match(501),
    "416": _changed(416),
    "408": _failing(408),
    "425": _failing(425),
    "429": _failing(429),
    "429 for a minute": _asks_for_a_pause(429),
    "429 for a second": _failing(429, Fault.status(429, headers={"Retry-After": "1"})),
    "500": _failing(500),
    "502": _failing(502, Fault.status(502, "<html>Bad gateway</html>")),
    "503": _failing(503, Fault.of("slow_down")),
    "503 for a minute": _asks_for_a_pause(503),
    "504": _failing(504),
}

#: Unusual forms of right answers, and how many GETs a read of all bytes is then.
FORMS: dict[str, tuple[Fault, int]] = {
    "200 for 206": (Fault.of("whole_object"), 1),
    "a 206 of nearly all": (Fault.short_range(SIZE - 7), 2),
    "a 206 of some bytes": (Fault.short_range(100_000), 3),
    "a 206 of less than a block": (Fault.short_range(30_000), 10),
    "a longer 206": (Fault.other_length(7), 1),
    "a 206 of whole pages": (Fault.of("wide_range", step_bytes=4096), 1),
    "no size in Content-Range": (Fault.of("unknown_total"), 1),
    "an odd Content-Range": (Fault.of("odd_range"), 1),
    "aws-chunked": (Fault.content_encoding("aws-chunked"), 1),
    "utf-8": (Fault.content_encoding("utf-8"), 1),
    "103 before it": (Fault.of("early_hints", count=3), 1),
    "chunked": (Fault.of("no_length"), 1),
}
