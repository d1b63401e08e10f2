# SPDX-License-Identifier: Apache-2.0
"""Source URLs by AWS's vector and the reference's, and ``Range`` headers as S3 reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.emulator.sources import (
    RangeNotSatisfiable,
    range_start,
    requested_span,
    signed_url,
    source_signature,
    string_to_sign,
)

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CODE = "EMBEDCODEexample-000000000000_01"
KEY = f"{CODE}/0000000000000-0000000400867"


def test_aws_vector() -> None:
    """The vector that AWS publishes for query authentication."""
    text = string_to_sign("GET", "/johnsmith/photos/puppy.jpg", "1175139620", {})
    assert text == "GET\n\n\n1175139620\n/johnsmith/photos/puppy.jpg"
    assert source_signature(SECRET, text) == "NpgCjnDzrM+WFzoENXmpNDUsSn8="


@pytest.mark.parametrize(
    ("method", "resource", "expected"),
    [
        ("GET", f"/cms.ooyala.com/{CODE}%2F0000000000000-0000000400867",
         "t0507XL8IID0QOWlqNLQbSEhniU="),
        ("GET", f"/cms.ooyala.com/{KEY}", "edFjWZEY6YTWEGzYioY687MTPW4="),
        ("HEAD", f"/cms.ooyala.com/{CODE}%2F0000000000000-0000000400867",
         "rCEcRCdlnFySigYmxn5DY9CeCIQ="),
    ],
)  # fmt: skip  # a vector to two lines
def test_reference_vectors(method: str, resource: str, expected: str) -> None:
    """Encoded path, decoded path and HEAD have three different signatures."""
    assert expected == source_signature(SECRET, string_to_sign(method, resource, "1893456000", {}))


def test_signed_url() -> None:
    """The reference's sample URL, byte for byte apart from the host: %2F, order, trailing ``&``."""
    url = signed_url(
        "http://127.0.0.1:1", KEY, 1893456000, key_id="AKIAIOSFODNN7EXAMPLE", secret=SECRET
    )
    assert url == (
        f"http://127.0.0.1:1/{CODE}%2F0000000000000-0000000400867"
        "?Signature=t0507XL8IID0QOWlqNLQbSEhniU%3D&Expires=1893456000"
        "&AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&"
    )


def test_headers_and_sub_resources_take_part() -> None:
    """Content-Type, Content-MD5, x-amz-* and S3's sub-resources change what is signed."""
    text = string_to_sign(
        "GET",
        "/b/k",
        "5",
        {"Content-Type": "application/json", "X-Amz-B": "2", "x-amz-a": " 1 ", "Range": "bytes=0-"},
        [("versionId", "7"), ("acl", ""), ("other", "x")],
    )
    assert text == "GET\n\napplication/json\n5\nx-amz-a:1\nx-amz-b:2\n/b/k?acl&versionId=7"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=2-", (2, 10)),
        ("bytes=2-99", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=a-b", None),
        ("items=0-1", None),
    ],
)
def test_spans(header: str | None, expected: tuple[int, int] | None) -> None:
    """Clamped ends; malformed and several ranges mean the whole object."""
    assert expected == requested_span(header, 10)


@pytest.mark.parametrize(
    ("header", "size"),
    [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=0-0", 0), ("bytes=-5", 0), ("bytes=-0", 10)],
)
def test_not_satisfiable(header: str, size: int) -> None:
    """A start at or past the end, and any range of an empty object, is a 416."""
    with pytest.raises(RangeNotSatisfiable):
        requested_span(header, size)


@given(size=st.integers(1, 50), start=st.integers(0, 49), length=st.integers(1, 60))
def test_equals_a_slice(size: int, start: int, length: int) -> None:
    """A satisfiable range names the bytes that Python's slice would."""
    data = bytes(range(size))
    header = f"bytes={start}-{start + length - 1}"
    if start >= size:
        with pytest.raises(RangeNotSatisfiable):
            requested_span(header, size)
    else:
        span = requested_span(header, size)
        assert span is not None
        assert data[span[0] : span[1]] == data[start : start + length]


def test_range_start() -> None:
    """What a fault rule can know of a range before the object is looked at."""
    assert range_start("bytes=7-") == 7
    assert range_start("bytes=-7") is None
    assert range_start(None) is None
