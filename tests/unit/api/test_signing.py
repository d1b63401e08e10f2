# SPDX-License-Identifier: Apache-2.0
"""Signatures against the vendor's published vectors and ones composed by hand."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qsl, quote

import pytest

from backlotfs.api.signing import Credentials, round_expires, sign, signed_query
from backlotfs.errors import SettingsError

SDK_SECRET = "329b5b204d0f11e0a2d060334bfffe90ab18xqh5"
SDK_PARAMS = {"api_key": "7ab06", "expires": "1299991855"}
KEY = "AbCdEfGhIjKlMnOpQrStUvWxYz01.KEYid"
SECRET = "0123456789abcdefghijABCDEFGHIJ-_klmnopqr"
E = "EMBEDCODEexample-000000000000_01"
COMMON = {"api_key": KEY, "expires": "1893456000"}


@pytest.mark.parametrize(
    ("method", "params", "body", "encoded"),
    [
        ("GET", {}, b"", "OugvH8gjMEqhq8nyoJQeBtSI57nMbIOp%2B7KGaxx9v8I"),
        ("GET", SDK_PARAMS, b"", "p9DG%2F%2BummS0YcTNOYHtykdjw5N2n5s81OigJfdgHPTA"),
        ("POST", SDK_PARAMS, b"test", "fJrWCcIqeRBZUqa61OV%2B6XOWfpkab6RdW5hJZmZh1CI"),
    ],
)
def test_vendor_vectors(method: str, params: dict[str, str], body: bytes, encoded: str) -> None:
    """The three vectors of the vendor's own SDK tests come out, percent-encoded."""
    signature = sign(SDK_SECRET, method, "/v2/players/HbxJKM", params, body)
    assert quote(signature, safe="") == encoded


@pytest.mark.parametrize(
    ("method", "path", "params", "body", "signature"),
    [
        (
            "GET",
            "/v2/assets",
            {"limit": "2", "where": "asset_type='video'"},
            b"",
            "Ks/npCxIU09Rh09zC7urbfY3YppK9EW+6LaIlUqEBLk",
        ),
        (
            "GET",
            "/v2/assets",
            {"limit": "2", "page_token": f"1357258836;{E}"},
            b"",
            "7CoTTiifOGHzjIzAX4WPmrpK0jAoparE57obLKy7bMU",
        ),
        ("GET", f"/v2/assets/{E}/streams", {}, b"", "RDfrTQl1oEbwNlIvYyeeLm/kEHOu3uOh/vBT1LBM9wA"),
        (
            "GET",
            f"/v2/assets/{E}/source_file_info",
            {},
            b"",
            "RmgKlTzKpnZaszd8QD5M4uzwdA/c5LyMWkNTzYXBex0",
        ),
        (
            "PATCH",
            f"/v2/assets/{E}",
            {},
            b'{"name":"x"}',
            "OBl+kDtX9AKystJ0hi6L1NCBodsNZ5q4tfcEPlHEabQ",
        ),
    ],
)
def test_composed_vectors(
    method: str, path: str, params: dict[str, str], body: bytes, signature: str
) -> None:
    """The vectors composed for the API's description come out."""
    assert sign(SECRET, method, path, params | COMMON, body) == signature
    assert len(signature) == 43


def test_not_the_hex_text_form() -> None:
    """Base64 of the digest's hex text, as the vendor's prose has it, is never produced."""
    text = f"{SDK_SECRET}GET/v2/players/HbxJKM"
    hexadecimal = hashlib.sha256(text.encode()).hexdigest().encode()
    wrong = base64.b64encode(hexadecimal).decode()[:43].rstrip("=")
    assert sign(SDK_SECRET, "GET", "/v2/players/HbxJKM", {}) != wrong


def test_method_case_and_own_signature_do_not_matter() -> None:
    """The method is upper-cased, and an earlier signature among the parameters takes no part."""
    plain = sign(SECRET, "GET", "/v2/assets", COMMON)
    assert sign(SECRET, "get", "/v2/assets", COMMON | {"signature": "old"}) == plain


@pytest.mark.parametrize(
    ("now_s", "expires"),
    [(0.0, 300), (284.9, 300), (285.0, 600), (1_299_991_840.0, 1_299_992_100)],
)
def test_round_expires(now_s: float, expires: int) -> None:
    """The SDKs' rounding: 15 s, then up to the next 5 minutes, never exactly on it."""
    assert round_expires(now_s) == expires
    assert 15 <= expires - int(now_s) <= 315


def test_query_is_percent_encoded_utf8() -> None:
    """Spaces are %20, text is UTF-8, and the server decodes what was signed."""
    params = {"where": "name = 'Ünï+côde & more'"}
    query = signed_query(Credentials(KEY, SECRET), "GET", "/v2/assets", params, expires=1893456000)
    assert "where=name%20%3D%20%27%C3%9Cn%C3%AF%2Bc%C3%B4de%20%26%20more%27" in query
    assert "+" not in query
    decoded = dict(parse_qsl(query))
    signature = decoded.pop("signature")
    assert decoded == params | COMMON
    assert signature == sign(SECRET, "GET", "/v2/assets", decoded)


def test_lone_surrogates_are_signed_as_they_are_sent() -> None:
    """A text that has no UTF-8 form is replaced alike in the hash and on the wire."""
    query = signed_query(Credentials(KEY, SECRET), "GET", "/v2/assets", {"q": "\ud800"}, expires=1)
    decoded = dict(parse_qsl(query))
    signature = decoded.pop("signature")
    assert signature == sign(SECRET, "GET", "/v2/assets", decoded)


KEY, SECRET = "AbCdEfGhIjKlMnOpQrStUvWxYz01.KEYid", "0123456789abcdefghijABCDEFGHIJ-_klmnopqr"


def test_masked_and_account() -> None:
    """Neither the secret nor the key's suffix is in any form of display; the account is."""
    credentials = Credentials(KEY, SECRET)
    for shown in (repr(credentials), str(credentials), f"{credentials}"):
        assert SECRET not in shown
        assert "KEYid" not in shown
        assert credentials.account in shown
    assert credentials.account == "AbCdEfGhIjKlMnOpQrStUvWxYz01"


def test_key_without_a_dot_is_its_own_account() -> None:
    """A key of another shape still has an account to name the catalog by."""
    assert Credentials("7ab06", SECRET).account == "7ab06"


@pytest.mark.parametrize("bad", ["", "with space", "newline\n", "nul\0", "\ud800"])
def test_unusable_values_are_refused_unseen(bad: str) -> None:
    """An empty or torn value is refused by a message that does not hold it."""
    with pytest.raises(SettingsError, match="API secret"):
        Credentials(KEY, bad)
    with pytest.raises(SettingsError, match="API key") as caught:
        Credentials(bad, SECRET)
    assert SECRET not in str(caught.value)
    assert not bad or bad not in str(caught.value)
