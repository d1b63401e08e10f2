# SPDX-License-Identifier: Apache-2.0
"""Numbers and dates of requests and files, with bounds on their length and their size.

Python's ``int`` takes signs, spaces, underscores and the digits of all scripts, and raises an error
of its own for more than 4300 digits. Everything here takes ASCII digits only. Pure.
"""

from __future__ import annotations

import datetime
import email.utils
import re

MOST_DIGITS = 18
"""Most digits of a number: its value is below 2**63, and enough for any date in microseconds."""

BEYOND = 10**MOST_DIGITS
"""Stands for every number with more digits, where any number beyond all objects will do."""

FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00Z
LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
_NUMBER = re.compile(rf"-?[0-9]{{1,{MOST_DIGITS}}}")
_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"
_HTTP_DATE_LENGTH = 29


def whole_number(text: str, *, signed: bool = False) -> int | None:
    """The value of ``text``; None if it is not a number of at most 18 digits.

    :param signed: whether the number may be negative.
    """
    if not _NUMBER.fullmatch(text):
        return None
    return int(text) if signed or text[0] != "-" else None


def saturated(digits: str) -> int:
    """The value of these ASCII digits; ``BEYOND`` if it has more than 18 digits."""
    significant = digits.lstrip("0")
    return BEYOND if len(significant) > MOST_DIGITS else int(significant or "0")


def moment_of(text: str) -> float | None:
    """Seconds since the epoch of an ISO 8601 date, by default in UTC; None if it is no date."""
    if not text.isascii():
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None


def moment_of_header(text: str | None) -> int | None:
    """Seconds since the epoch of an HTTP date, as in ``Last-Modified``; None if it is no date."""
    if text is None or len(text) != _HTTP_DATE_LENGTH or not text.isascii():
        return None
    try:
        moment = datetime.datetime.strptime(text, _HTTP_DATE)
    except ValueError:
        return None
    return int(moment.replace(tzinfo=datetime.UTC).timestamp())


def iso_time(seconds: float) -> str:
    """``2030-01-01T00:00:00Z``, limited to the years 1 to 9999."""
    moment = datetime.datetime.fromtimestamp(_dated(seconds), datetime.UTC)
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%SZ}"


def http_date(seconds: float) -> str:
    """``Tue, 01 Jan 2030 00:00:00 GMT``, with the limits of ``iso_time``."""
    return email.utils.formatdate(_dated(seconds), usegmt=True)


def _dated(seconds: float) -> int:
    return int(min(max(seconds, FIRST_SECOND), LAST_SECOND))
