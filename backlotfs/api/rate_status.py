"""Credits of the account, and how long a refused caller has to wait. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from backlotfs.untrusted_numbers import decimal_number

WINDOW_S = 60.0  # credits come back a minute after the first call of a window
# a longer wait is a fault or a timestamp in place of seconds; asking again then costs one credit
_LONGEST_WAIT_S = 3600.0
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*s(?:ec(?:ond)?s?)?\b", re.IGNORECASE)
_MOST_SECONDS = 1e10  # some servers name a moment since the epoch


@dataclass(frozen=True, slots=True)
class RateStatus:
    """What an answer said about the account's credits. Immutable.

    :ivar credits_left: calls that are left in this window.
    :ivar resets_at_s: when the window ends, on the monotonic clock.
    """

    credits_left: int
    resets_at_s: float


#: Headers with the calls that are left, and with the end of the window; the first found counts.
_LEFT = ("X-RateLimit-Credits", "X-RateLimit-Remaining", "RateLimit-Remaining")
_RESET = ("X-RateLimit-Reset", "RateLimit-Reset")


def read_rate(
    headers: Mapping[str, str], *, monotonic_s: float, server_now_s: float
) -> RateStatus | None:
    """The credits that an answer speaks of; None if it is silent.

    :param headers: must look names up without regard to case.
    :param server_now_s: seconds since the epoch by the server's clock.
    """
    credits_left = _first(headers, _LEFT)
    if credits_left is None:
        return None
    reset_s = _reset_s(headers, server_now_s)
    return RateStatus(int(credits_left), monotonic_s + (WINDOW_S if reset_s is None else reset_s))


def retry_after_s(message: str, headers: Mapping[str, str], server_now_s: float) -> float | None:
    """Seconds that a 429 asks for: by its message, else its headers; None: it names no time.

    :param server_now_s: seconds since the epoch by the server's clock, for a dated header.
    """
    match = _SECONDS.search(message)
    said_s = float(match[1]) if match else _reset_s(headers, server_now_s)
    if said_s is None:
        said_s = retry_after_header_s(headers.get("Retry-After"), server_now_s)
    return None if said_s is None else min(max(0.0, said_s), _LONGEST_WAIT_S)


def http_date_s(value: str | None) -> float | None:
    """A ``Date`` header in seconds since the epoch; None when it is none."""
    if len(value or "") > 64:
        return None
    try:
        seconds = parsedate_to_datetime(value or "").timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return seconds if math.isfinite(seconds) else None


def retry_after_header_s(value: str | None, server_now_s: float) -> float | None:
    """A ``Retry-After`` header, in seconds or dated, as seconds from now; None when it is none."""
    seconds = _number(value)
    if seconds is not None:
        return seconds
    moment_s = http_date_s(value)
    return None if moment_s is None else moment_s - server_now_s


def _first(headers: Mapping[str, str], names: Sequence[str]) -> float | None:
    found = (_number(headers.get(name)) for name in names)
    return next((value for value in found if value is not None), None)


def _reset_s(headers: Mapping[str, str], server_now_s: float) -> float | None:
    """Seconds until the window ends: some servers name them, others the moment since the epoch."""
    stated = _first(headers, _RESET)
    if stated is None:
        return None
    seconds = stated - server_now_s if stated > _LONGEST_WAIT_S else stated
    return seconds if 0 <= seconds <= _LONGEST_WAIT_S else None


def _number(value: str | None) -> float | None:
    return decimal_number(value, most=_MOST_SECONDS)
