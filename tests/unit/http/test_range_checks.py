"""What an answer to a ranged GET says: exactly the bytes asked for, or an S3 error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.byterange import ByteRange
from backlotfs.errors import ProtocolViolation
from backlotfs.http.pool import (
    ERROR_BODY_BYTES,
    ContentRange,
    S3Error,
    check_range_answer,
    parse_content_range,
    parse_s3_error,
)
from tests.strategies import byte_ranges

ASKED = ByteRange(100, 200)


def headers(content_range: str | None = "bytes 100-199/1000", **others: str) -> dict[str, str]:
    """Headers of an answer, names in lower case."""
    found = {name.replace("_", "-"): value for name, value in others.items()}
    return found if content_range is None else found | {"content-range": content_range}


@pytest.mark.parametrize(
    "value",
    [
        None, "", "bytes", "bytes */1000", "bytes 0-9/*", "bytes 0-9", "bytes=0-9/10",
        "items 0-9/10", "Bytes 0-9/10", "bytes 0 - 9/10", "bytes -1-9/10", "bytes 0-9/10, 20-29/10",
        "bytes 0-9/10\nx", "bytes \u0660-\u0669/10",
        "bytes 0-9/99999999999999999999", "bytes 9-0/10",
        "bytes 0-10/10", "bytes 10-10/10", "bytes 0-9/0",
    ],
)  # fmt: skip
def test_unusable_headers(value: str | None) -> None:
    """Absent, malformed, unknown or contradictory: a violation, never a guess."""
    with pytest.raises(ProtocolViolation, match="Content-Range"):
        parse_content_range(value)


@given(wanted=byte_ranges(), beyond=st.integers(0, 1 << 62))
def test_parse_reads_what_a_server_writes(wanted: ByteRange, beyond: int) -> None:
    """Any range inside an object comes back as it was."""
    total = wanted.stop + beyond
    value = f" bytes {wanted.start}-{wanted.stop - 1}/{total} "
    assert parse_content_range(value) == ContentRange(wanted, total)


@pytest.mark.parametrize(
    ("status", "given_headers", "says"),
    [
        (200, headers(), "status 200"),
        (416, headers(), "status 416"),
        (204, headers(), "status 204"),
        (206, headers(content_encoding="gzip"), "'gzip' encoding"),
        (206, headers(content_encoding="identity, br"), "encoding"),
        (206, headers(None), "'none'"),
        (206, headers("bytes 0-99/1000"), "answered with bytes 0-99 of 1000"),
        (206, headers("bytes 100-198/1000"), "answered with bytes 100-198"),
        (206, headers("bytes 100-200/1000"), "answered with bytes 100-200"),
        (206, headers("bytes 100-149/200"), "answered with bytes 100-149 of 200"),
        (206, headers(content_length="99"), "names 100 bytes, Content-Length '99'"),
        (206, headers(content_length="1e2"), "Content-Length '1e2'"),
    ],
)
def test_other_bytes_are_refused(status: int, given_headers: dict[str, str], says: str) -> None:
    """Another status, encoding, range or length."""
    with pytest.raises(ProtocolViolation, match=says):
        check_range_answer(status, given_headers, ASKED)


@pytest.mark.parametrize(
    "given_headers",
    [
        headers(),
        headers(content_length="100"),
        headers(content_encoding="identity"),
        headers(content_encoding=" Identity "),
        headers(content_encoding=""),
        headers("bytes 100-199/200"),
    ],
)
def test_what_was_asked_for(given_headers: dict[str, str]) -> None:
    """Exactly these bytes, with or without the redundant headers."""
    assert check_range_answer(206, given_headers, ASKED).served == ASKED


def test_an_answer_cut_at_the_objects_end() -> None:
    """An object smaller than believed answers with what it has; the caller sees the total."""
    answer = check_range_answer(206, headers("bytes 100-149/150"), ASKED)
    assert answer == ContentRange(ByteRange(100, 150), 150)


@given(
    wanted=byte_ranges(limit=1000),
    first=st.integers(0, 1000),
    last=st.integers(0, 1000),
    total=st.integers(0, 1001),
)
def test_only_exact_answers_pass(wanted: ByteRange, first: int, last: int, total: int) -> None:
    """Whatever passes is the asked range, cut at most by the object's own end."""
    try:
        answer = check_range_answer(206, headers(f"bytes {first}-{last}/{total}"), wanted)
    except ProtocolViolation:
        exact = (wanted.start, min(wanted.stop, total) - 1)
        assert (first, last) != exact or not first <= last < total
    else:
        assert answer.total == total
        assert answer.served == wanted.clamped(total)
        assert answer.served.start == wanted.start
        assert answer.served.stop == wanted.stop or answer.served.stop == total


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
