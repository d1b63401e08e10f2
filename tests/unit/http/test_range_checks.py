# SPDX-License-Identifier: Apache-2.0
"""What an answer to a ranged GET says: which bytes it holds, or an S3 error.

The forms, with what becomes of each over HTTP: `tests.unit.source.test_answer_forms`.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.byterange import ByteRange
from backlotfs.errors import ProtocolViolation
from backlotfs.http.pool import ERROR_BODY_BYTES, S3Error, parse_s3_error
from backlotfs.http.range_checks import (
    answered_range,
    bytes_before,
    parse_content_range,
    unsatisfied_total,
)
from tests.strategies import byte_ranges


def headers(content_range: str | None = "bytes 100-199/1000", **others: str) -> dict[str, str]:
    """Headers of an answer, names in lower case."""
    found = {name.replace("_", "-"): value for name, value in others.items()}
    return found if content_range is None else found | {"content-range": content_range}


@pytest.mark.parametrize(
    "value",
    [
        None, "", "bytes", "bytes */1000", "bytes 0-9", "items 0-9/10", "bytes -1-9/10",
        "bytes 0-9/10, 20-29/10", "bytes 0-9/10\nx", "bytes \u0660-\u0669/10", "bytes0-9/10",
        "bytes 0-9/99999999999999999999", "bytes 9-0/10", "bytes 0-10/10", "bytes 10-10/10",
        "bytes 0-9/0", "bytes */*", "bytes 0--1/5", "bytes 0-9223372036854775807/*",
    ],
)  # fmt: skip
def test_unusable_headers(value: str | None) -> None:
    """Absent, malformed, unknown or contradictory: a violation, never a guess."""
    with pytest.raises(ProtocolViolation, match="Content-Range"):
        parse_content_range(value)


@given(wanted=byte_ranges(), beyond=st.integers(0, (1 << 62) - 1))
def test_parse_reads_what_a_server_writes(wanted: ByteRange, beyond: int) -> None:
    """Any range inside an object comes back as it was."""
    total = wanted.stop + beyond
    value = f" bytes {wanted.start}-{wanted.stop - 1}/{total} "
    assert parse_content_range(value) == (wanted, total)


@given(
    wanted=byte_ranges(limit=1000),
    first=st.integers(0, 1000),
    last=st.integers(0, 1000),
    total=st.integers(0, 1001),
)
def test_only_answers_with_wanted_bytes_pass(
    wanted: ByteRange, first: int, last: int, total: int
) -> None:
    """What passes begins with the first wanted byte, or holds all of them."""
    try:
        held = answered_range(206, headers(f"bytes {first}-{last}/{total}"))
        before = bytes_before(held.place, wanted)
    except ProtocolViolation:
        begins, covers = first == wanted.start, first < wanted.start and last >= wanted.stop - 1
        assert not (begins or covers) or not first <= last < total
    else:
        assert (held.place, held.total) == (ByteRange(first, last + 1), total)
        assert first + before == wanted.start <= last
        assert not before or last + 1 >= wanted.stop


@pytest.mark.parametrize("value", ["bytes */0", "Bytes  */ 0", "*/0", "bytes */0, bytes */0"])
def test_the_size_of_a_416(value: str) -> None:
    """As in a Content-Range of a 206."""
    assert unsatisfied_total(headers(value)) == 0


@pytest.mark.parametrize("value", [None, "bytes 0-0/5", "bytes */*", "bytes */0, bytes */1", "x"])
def test_no_size_of_a_416(value: str | None) -> None:
    """It need not say one."""
    assert unsatisfied_total(headers(value)) is None


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
