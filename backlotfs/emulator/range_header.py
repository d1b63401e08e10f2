"""What S3 makes of a ``Range`` header. Pure."""

from __future__ import annotations

import re

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)


class RangeNotSatisfiable(Exception):
    """The range is well formed and no byte of the object lies in it (416)."""


def requested_span(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open span that ``header`` asks for, or None when the whole object is meant.

    A malformed header and one with several ranges are ignored: that is a 200, not an error.

    :raises RangeNotSatisfiable: when it starts at or past the end, or ``size`` is 0.
    """
    matched = _ONE_RANGE.fullmatch(header or "")
    if matched is None:
        return None
    first, last = matched.groups()
    if not first and not last:
        return None
    if not first:
        if int(last) == 0 or size == 0:
            raise RangeNotSatisfiable
        return max(0, size - int(last)), size
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise RangeNotSatisfiable
    return start, min(int(last) + 1, size) if last else size


def range_start(header: str | None) -> int | None:
    """Where a ``Range`` header starts, without knowing the object; None when it does not say."""
    matched = _ONE_RANGE.fullmatch(header or "")
    return int(matched[1]) if matched and matched[1] else None
