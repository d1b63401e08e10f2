"""What S3 makes of a ``Range`` header. Pure."""

from __future__ import annotations

import re

from backlotfs.emulator.numbers_and_dates import saturated

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)\s*", re.IGNORECASE | re.ASCII)


class RangeNotSatisfiable(Exception):
    """The range is well formed and no byte of the object lies in it (416)."""


def requested_span(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open span that ``header`` asks for, or None when the whole object is meant.

    A malformed header and one with several ranges are ignored: that is a 200, not an error. A
    number of any length is one: it is past the end of every object.

    :raises RangeNotSatisfiable: when it starts at or past the end, or ``size`` is 0.
    """
    matched = _ONE_RANGE.fullmatch(header or "")
    if matched is None:
        return None
    first, last = matched.groups()
    if not first and not last:
        return None
    if not first:
        length = saturated(last)
        if length == 0 or size == 0:
            raise RangeNotSatisfiable
        return max(0, size - length), size
    start = saturated(first)
    stop = saturated(last) + 1 if last else size
    if last and stop <= start:
        return None
    if start >= size:
        raise RangeNotSatisfiable
    return start, min(stop, size)


def range_start(header: str | None) -> int | None:
    """Where a ``Range`` header starts, without knowing the object; None when it does not say."""
    matched = _ONE_RANGE.fullmatch(header or "")
    return saturated(matched[1]) if matched and matched[1] else None
