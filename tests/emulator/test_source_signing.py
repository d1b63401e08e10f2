"""Source URLs: AWS's vector, the reference's, and the shape of the URL."""

from __future__ import annotations

import pytest

from backlotfs.emulator.sources import signed_url, source_signature, string_to_sign

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
