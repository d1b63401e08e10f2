"""The XML error body of an S3-like source host: is it "expired", or something else? Pure.

Two tags are read with a pattern instead of an XML parser: the body comes from the network, and a
pattern over a bounded text cannot be made to expand entities or recurse.
"""

from __future__ import annotations

import re
from typing import NamedTuple

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
