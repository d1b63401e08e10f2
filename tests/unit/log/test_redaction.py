# SPDX-License-Identifier: Apache-2.0
"""What is taken out of text, what stays, and that a mark says so."""

from __future__ import annotations

import logging

import pytest

from backlotfs.log import redaction
from backlotfs.log.redaction import MARK, RedactingFilter, hide, redacted

SECRET = "vjbyPxybdZaNmGa%2ByT272YEAiv4%3D"


@pytest.fixture(autouse=True)
def _nothing_hidden_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_hidden", ())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"GET http://h/a%2Fb?Signature={SECRET}& failed", "GET http://h/a%2Fb?@@ failed"),
        (f"(url='http://h/p?a={SECRET}') 7?", "(url='http://h/p?@@') 7?"),
        (f"url: /v2/assets?api_key={SECRET} (Caused by x)", "url: /v2/assets?@@ (Caused by x)"),
        (f"see http://h/p?{SECRET}; and", "see http://h/p?@@; and"),
        (f'<a href="http://h/p?x=\'{SECRET}">', '<a href="http://h/p?@@">'),
        (f"https://me:{SECRET}@h/p and", f"https://{MARK}@h/p and"),
        (f"Signature={SECRET}, then", "Signature=@@, then"),
        (f"X-Amz-Security-Token={SECRET}&x", "X-Amz-Security-Token=@@&x"),
        (f"http%3A%2F%2Fh%2Fp%3FSignature%3D{SECRET} x", "http%3A%2F%2Fh%2Fp%3FSignature%3D@@ x"),
        (f"%253FKey-Pair-Id%253D{SECRET}", "%253FKey-Pair-Id%253D@@"),
        (rf'"x\u0026Policy={SECRET}"', r'"x\u0026Policy=@@"'),
        (f"{{'signature': '{SECRET}', 'a': 1}}", "{'signature': '@@', 'a': 1}"),
        (f'{{"upload_token":"{SECRET}","a":1}}', '{"upload_token":"@@","a":1}'),
        (f"{{'AWSAccessKeyId': b'{SECRET}'}}", "{'AWSAccessKeyId': b'@@'}"),
        ("{'expires': 1456868965, 'a': 1}", "{'expires': @@, 'a': 1}"),
        (f"token: {SECRET} x", "token: @@ x"),
        (f"<AWSAccessKeyId>{SECRET}</AWSAccessKeyId>", "<AWSAccessKeyId>@@</AWSAccessKeyId>"),
        (f"<StringToSign>GET\n{SECRET}</StringToSign>", "<StringToSign>@@</StringToSign>"),
        (f"header: Authorization: Basic {SECRET}", "header: Authorization: @@"),
        (f"{{'Authorization': 'AWS x:{SECRET}'}}", "{'Authorization': '@@'}"),
        (rf"b'GET /\r\nCookie: a={SECRET}; b=1\r\nX: 1'", r"b'GET /\r\nCookie: @@\r\nX: 1'"),
        (f"Bearer {SECRET}", "Bearer @@"),
    ],
)
def test_taken_out(text: str, shown: str) -> None:
    """The value goes, a mark stands for it, and what is around it stays."""
    assert redacted(text) == shown.replace("@@", MARK)


@pytest.mark.parametrize(
    "text",
    [
        "is this machine's clock right? yes",
        "These parameters are missing: api_key, signature, expires.",
        "the signature: is wrong",
        "policy: strict, token: expected",
        "SignedUrl(h/p?<redacted>, expires_at_s=12.0)",
        "what?yes",
        "a design=1 redesignature2=3",
        "12:30 user@host.example",
        "",
    ],
)
def test_left_alone(text: str) -> None:
    """Words are words."""
    assert redacted(text) == text


def test_named_secrets() -> None:
    """Wherever they stand and however a URL encodes them; short ones only when handed in."""
    hide("a+b/c-d=e9", "short")
    text = "x a+b/c-d=e9 y a%2Bb%2Fc-d%3De9 z a%2bb%2fc-d%3de9 short"
    assert redacted(text) == f"x {MARK} y {MARK} z {MARK} short"
    assert redacted("short, long", ["short", ""]) == f"{MARK}, long"
    hide("xx a+b/c-d=e9 xx")
    assert redacted("xx a+b/c-d=e9 xx") == MARK, "the outer one first"


@pytest.mark.long
def test_a_long_text_is_no_trouble() -> None:
    """Megabytes that match a rule nearly everywhere are gone through once."""
    for unit in ("?", "token", "_", "x-amz-", "a=b?", "'token': ", "signature: ", "://a", "<"):
        redacted(unit * (1_000_000 // len(unit)))


def test_filter() -> None:
    """Message and traceback are redacted for every formatter that follows."""
    with pytest.raises(ValueError, match="why") as caught:
        int(f"http://h/why?Signature={SECRET}")
    failed = (caught.type, caught.value, caught.tb)
    record = logging.LogRecord("n", 10, "p", 1, "%s %d", (f"/p?a={SECRET}", 7), failed)
    assert RedactingFilter().filter(record)
    text = logging.Formatter().format(record)
    assert text.startswith(f"/p?{MARK} 7\nTraceback")
    assert f"http://h/why?{MARK}" in text
    assert SECRET not in text


def test_filter_of_arguments_that_do_not_fit() -> None:
    """Logging would print them, raw; so they are dropped."""
    record = logging.LogRecord("n", 10, "p", 1, "%d %d", (f"/p?a={SECRET}",), None)
    assert RedactingFilter().filter(record)
    assert record.getMessage() == "%d %d (its arguments do not fit)"
