"""Does an answer hold exactly the bytes asked for? Pure: status and headers in, verdict out.

Nothing of a body is kept before `check_range_answer` has returned: a 200 is not a 206, and a 206
for another range, another length or another encoding is somebody else's bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from backlotfs.byterange import ByteRange
from backlotfs.errors import InvalidRangeResponse

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})\Z", re.ASCII)


class ContentRange(NamedTuple):
    """A parsed ``Content-Range``: the bytes served, and the size of the whole object."""

    served: ByteRange
    total: int


def parse_content_range(value: str | None) -> ContentRange:
    """Parse ``bytes first-last/total`` strictly (RFC 9110 §14.4, without ``*``).

    :raises InvalidRangeResponse: when it is absent, malformed or contradicts itself.
    """
    match = _CONTENT_RANGE.match((value or "").strip())
    if match is None:
        raise InvalidRangeResponse(f"unusable Content-Range: {(value or 'none')[:80]!r}")
    first, last, total = (int(group) for group in match.groups())
    if not first <= last < total:
        raise InvalidRangeResponse(f"contradictory Content-Range: {value!r}")
    return ContentRange(ByteRange(first, last + 1), total)


def check_range_answer(status: int, headers: Mapping[str, str], wanted: ByteRange) -> ContentRange:
    """Verify that this is a 206 with exactly ``wanted``, as stored bytes.

    :param headers: names in lower case.
    :param wanted: not empty, and inside the object as far as the caller knows.
    :returns: the served range (equal to ``wanted``, or cut at the object's end) and the total.
    :raises InvalidRangeResponse: for anything else; no byte of the body may be used then.
    """
    if status != 206:
        raise InvalidRangeResponse(f"asked for {wanted.header()}, answered with status {status}")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise InvalidRangeResponse(
            f"asked for stored bytes, answered with {encoding[:40]!r} encoding"
        )
    answer = parse_content_range(headers.get("content-range"))
    if answer.served != wanted.clamped(answer.total):
        raise InvalidRangeResponse(
            f"asked for {wanted.header()}, answered with bytes "
            f"{answer.served.start}-{answer.served.stop - 1} of {answer.total}"
        )
    length = headers.get("content-length")
    if length is not None and length.strip() != str(answer.served.length):
        raise InvalidRangeResponse(
            f"Content-Range names {answer.served.length} bytes, Content-Length {length[:20]!r}"
        )
    return answer
