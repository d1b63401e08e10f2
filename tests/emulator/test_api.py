# SPDX-License-Identifier: Apache-2.0
"""API signatures by every published vector, and the rate limit's window."""

from __future__ import annotations

import base64
import hashlib

import pytest

from backlotfs.emulator.api import Charge, RateLimiter, api_signature, signature_matches
from tests.fakes.clocks import ManualClock

SDK_SECRET = "329b5b204d0f11e0a2d060334bfffe90ab18xqh5"
SDK_PAIRS = [("api_key", "7ab06"), ("expires", "1299991855")]
KEY = "AbCdEfGhIjKlMnOpQrStUvWxYz01.KEYid"
SECRET = "0123456789abcdefghijABCDEFGHIJ-_klmnopqr"
CODE = "EMBEDCODEexample-000000000000_01"


@pytest.mark.parametrize(
    ("method", "pairs", "body", "expected"),
    [
        ("GET", [], b"", "OugvH8gjMEqhq8nyoJQeBtSI57nMbIOp+7KGaxx9v8I"),
        ("GET", SDK_PAIRS, b"", "p9DG/+ummS0YcTNOYHtykdjw5N2n5s81OigJfdgHPTA"),
        ("POST", SDK_PAIRS, b"test", "fJrWCcIqeRBZUqa61OV+6XOWfpkab6RdW5hJZmZh1CI"),
    ],
)
def test_vendor_vectors(
    method: str, pairs: list[tuple[str, str]], body: bytes, expected: str
) -> None:
    """The vectors of the vendor's own SDK tests."""
    assert expected == api_signature(SDK_SECRET, method, "/v2/players/HbxJKM", pairs, body)


@pytest.mark.parametrize(
    ("method", "path", "pairs", "body", "expected"),
    [
        ("GET", "/v2/assets", [("where", "asset_type='video'"), ("limit", "2")], b"",
         "Ks/npCxIU09Rh09zC7urbfY3YppK9EW+6LaIlUqEBLk"),
        ("GET", "/v2/assets", [("limit", "2"), ("page_token", f"1357258836;{CODE}")], b"",
         "7CoTTiifOGHzjIzAX4WPmrpK0jAoparE57obLKy7bMU"),
        ("GET", f"/v2/assets/{CODE}/streams", [], b"",
         "RDfrTQl1oEbwNlIvYyeeLm/kEHOu3uOh/vBT1LBM9wA"),
        ("GET", f"/v2/assets/{CODE}/source_file_info", [], b"",
         "RmgKlTzKpnZaszd8QD5M4uzwdA/c5LyMWkNTzYXBex0"),
        ("PATCH", f"/v2/assets/{CODE}", [], b'{"name":"x"}',
         "OBl+kDtX9AKystJ0hi6L1NCBodsNZ5q4tfcEPlHEabQ"),
    ],
)  # fmt: skip  # a vector to two lines
def test_composed_vectors(
    method: str, path: str, pairs: list[tuple[str, str]], body: bytes, expected: str
) -> None:
    """The reference's vectors; a ``signature`` among the parameters takes no part."""
    complete = [("signature", "x"), *pairs, ("expires", "1893456000"), ("api_key", KEY)]
    assert expected == api_signature(SECRET, method, path, complete, body)


def test_hex_text_form_does_not_pass() -> None:
    """The vendor's prose (Base64 over the hexadecimal text) is not what the service accepts."""
    text = f"{SECRET}GET/v2/assetsapi_key={KEY}"
    prose = base64.b64encode(hashlib.sha256(text.encode()).hexdigest().encode()).decode()[:43]
    expected = api_signature(SECRET, "GET", "/v2/assets", [("api_key", KEY)])
    assert not signature_matches(expected, prose)


def test_padding_is_optional() -> None:
    """A client may leave the ``=`` of Base64 on."""
    expected = api_signature(SECRET, "GET", "/v2/assets", [])
    assert signature_matches(expected, expected + "=")


def test_non_ascii_values_are_hashed_as_utf8() -> None:
    """The values count as they read, in UTF-8."""
    digest = hashlib.sha256(b"sGET/v2/assetswhere=name='\xc3\xa9'").digest()
    expected = base64.b64encode(digest).decode()[:43]
    assert expected == api_signature("s", "GET", "/v2/assets", [("where", "name='é'")])


def test_recorded_pairs() -> None:
    """299/60, 298/59, then 57 seconds: the pairs of the recorded traffic."""
    clock = ManualClock(1_500_000_000.0)
    limiter = RateLimiter(300, 60.0, clock.now)
    assert limiter.charge() == Charge(True, 299, 60)
    clock.advance(1)
    assert limiter.charge() == Charge(True, 298, 59)
    clock.advance(2)
    assert limiter.charge() == Charge(True, 297, 57)


def test_window_is_fixed() -> None:
    """Refused calls do not prolong it; the next one opens when the next call comes."""
    clock = ManualClock(1_500_000_000.0)
    limiter = RateLimiter(2, 60.0, clock.now)
    assert [limiter.charge().granted for _ in range(3)] == [True, True, False]
    clock.advance(59.5)
    assert limiter.charge() == Charge(False, 0, 1)
    clock.advance(100)
    assert limiter.charge() == Charge(True, 1, 60)
