"""Credits of the account, and how long a refused caller has to wait. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from backlotfs.untrusted_numbers import decimal_number

WINDOW_S = 60.0  # credits come back a minute after the first call of a window
# a longer wait is a fault or a timestamp in place of seconds; asking again then costs one credit
_LONGEST_WAIT_S = 3600.0
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*s(?:ec(?:ond)?s?)?\b", re.IGNORECASE)
_MOST_SECONDS = 1e9


@dataclass(frozen=True, slots=True)
class RateStatus:
    """What an answer said about the account's credits. Immutable.

    :ivar credits_left: calls that are left in this window.
    :ivar resets_at_s: when the window ends, on the monotonic clock.
    """

    credits_left: int
    resets_at_s: float


def speaks_of_credits(headers: Mapping[str, str]) -> bool:
    """Whether the server counts credits for us, and says so. Headers as for `read_rate`."""
    return _number(headers.get("X-RateLimit-Credits")) is not None


def read_rate(
    headers: Mapping[str, str], *, monotonic_s: float, refused_s: float | None = None
) -> RateStatus | None:
    """The credits that an answer speaks of; None if it is silent.

    :param headers: must look names up without regard to case.
    :param refused_s: it is a 429, which asks for so long a pause: then 0 are left.
    """
    credits_left = _number(headers.get("X-RateLimit-Credits")) if refused_s is None else 0.0
    if credits_left is None:
        return None
    reset_s = _number(headers.get("X-RateLimit-Reset"))
    if reset_s is None or reset_s > _LONGEST_WAIT_S:
        reset_s = WINDOW_S if refused_s is None else refused_s
    return RateStatus(int(credits_left), monotonic_s + reset_s)


def retry_after_s(message: str, headers: Mapping[str, str], server_now_s: float) -> float:
    """Seconds that a 429 asks for: by its message, else its headers, else one whole window.

    :param server_now_s: seconds since the epoch by the server's clock, for a dated header.
    """
    match = _SECONDS.search(message)
    said_s = float(match[1]) if match else _number(headers.get("X-RateLimit-Reset"))
    if said_s is None:
        said_s = retry_after_header_s(headers.get("Retry-After"), server_now_s)
    return WINDOW_S if said_s is None else min(max(0.0, said_s), _LONGEST_WAIT_S)


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


def _number(value: str | None) -> float | None:
    return decimal_number(value, most=_MOST_SECONDS)
