"""What an answer to a ranged GET says: exactly the bytes asked for, or an S3 error. Pure.

Nothing of a body is kept before `check_range_answer` has returned: a 200 is not a 206, and a 206
for another range, another length or another encoding is somebody else's bytes.

Of an XML error body three tags are read with patterns instead of an XML parser: the body comes from
the network, and a pattern over a bounded text cannot be made to expand entities or recurse.
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


#: Bytes of an error body that are looked at; real ones have a few hundred.
ERROR_BODY_BYTES = 16 * 1024

_CODE = re.compile(r"<Code>\s*([A-Za-z0-9.]{1,64})\s*</Code>")
_MESSAGE = re.compile(r"<Message>\s*([^<]{0,300})")
_ACTUAL_SIZE = re.compile(r"<ActualObjectSize>\s*([0-9]{1,19})\s*</ActualObjectSize>")

#: Codes that are shown: an unknown one may be anything, also the signature that it was sent.
_CODES = """
    AccessDenied AccountProblem AllAccessDisabled AuthorizationHeaderMalformed BadDigest BadRequest
    ExpiredToken InternalError InvalidAccessKeyId InvalidArgument InvalidBucketName
    InvalidObjectState InvalidRange InvalidRequest InvalidSecurity InvalidToken InvalidURI
    MethodNotAllowed MissingSecurityHeader NoSuchBucket NoSuchKey NoSuchVersion NotImplemented
    OperationAborted PermanentRedirect PreconditionFailed Redirect RequestTimeout
    RequestTimeTooSkewed ServiceUnavailable SignatureDoesNotMatch SlowDown TemporaryRedirect
    TokenRefreshRequired
"""
KNOWN_CODES = frozenset(_CODES.split())


class S3Error(NamedTuple):
    """What an error body says of itself; empty strings for a body that is not S3's.

    The code is one of `KNOWN_CODES`; the message is to be read, never shown.
    """

    code: str
    message: str
    actual_size: int | None

    @property
    def expired(self) -> bool:
        """Whether a fresh signature would help (API reference §8.3)."""
        return self.code == "ExpiredToken" or (
            self.code == "AccessDenied" and "expired" in self.message.lower()
        )


def parse_s3_error(body: bytes) -> S3Error:
    """Read code, message and the true size out of an error body; never raises."""
    text = body[:ERROR_BODY_BYTES].decode("utf-8", "replace")
    code, message, size = _CODE.search(text), _MESSAGE.search(text), _ACTUAL_SIZE.search(text)
    return S3Error(
        code=code.group(1) if code and code.group(1) in KNOWN_CODES else "",
        message=message.group(1).strip() if message else "",
        actual_size=int(size.group(1)) if size else None,
    )
