"""The XML of an error: is it "expired"?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.http.range_checks import ERROR_BODY_BYTES, S3Error, parse_s3_error

EXPIRED = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Request has expired</Message>
<Expires>2016-03-01T21:49:25Z</Expires><ServerTime>2016-03-04T21:49:26Z</ServerTime>
<RequestId>656c76696e6727732072657175657374</RequestId><HostId>Uuag1LuByR5Onimru9SAMPLE</HostId>
</Error>"""
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
MISMATCH = (
    b"<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does "
    b"not match the signature you provided. Check your key and signing method.</Message></Error>"
)
TOKEN = b"<Error><Code>ExpiredToken</Code><Message>The provided token</Message></Error>"
RANGE = (
    b'<?xml version="1.0"?>\n<Error><Code>InvalidRange</Code><Message>The requested range is not '
    b"satisfiable</Message><RangeRequested>bytes=9-9</RangeRequested>"
    b"<ActualObjectSize> 7 </ActualObjectSize></Error>"
)


@pytest.mark.parametrize(
    ("body", "code", "expired"),
    [
        (EXPIRED, "AccessDenied", True),
        (EXPIRED.replace(b"has expired", b"HAS EXPIRED"), "AccessDenied", True),
        (TOKEN, "ExpiredToken", True),
        (DENIED, "AccessDenied", False),
        (MISMATCH, "SignatureDoesNotMatch", False),
        (MISMATCH.replace(b"The request", b"expired"), "SignatureDoesNotMatch", False),
        (b"<html><body>403 Forbidden, expired</body></html>", "", False),
        (b"", "", False),
    ],
)
def test_published_samples(body: bytes, code: str, expired: bool) -> None:
    """Expired is told apart from every other 403."""
    error = parse_s3_error(body)
    assert (error.code, error.expired) == (code, expired)


def test_actual_size() -> None:
    """A 416 says how long the object is."""
    assert parse_s3_error(RANGE).actual_size == 7
    assert parse_s3_error(DENIED).actual_size is None


def test_hostile_bodies() -> None:
    """Entities stay text, huge fields and bodies are cut, invalid UTF-8 is replaced."""
    bomb = b'<!DOCTYPE x [<!ENTITY a "&a;&a;">]><Error><Code>&a;</Code><Message>\xff&a;</Message>'
    assert parse_s3_error(bomb) == S3Error("", "�&a;", None)
    assert parse_s3_error(b"<Code>" + b"A" * 65 + b"</Code>").code == ""
    assert parse_s3_error(b"<ActualObjectSize>" + b"9" * 5000 + b"<").actual_size is None
    assert len(parse_s3_error(b"<Message>" + b"m" * 10_000).message) == 300
    assert parse_s3_error(b" " * ERROR_BODY_BYTES + EXPIRED).code == ""


@given(st.binary(max_size=300))
def test_never_raises(body: bytes) -> None:
    """Whatever a server sends, there is an answer, and noise does not look expired."""
    assert isinstance(parse_s3_error(body), S3Error)
    assert isinstance(parse_s3_error(b"<Code>" + body + b"</Code>").expired, bool)
