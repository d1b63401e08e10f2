# SPDX-License-Identifier: Apache-2.0
"""Messages of servers: read for their meaning, shown only as far as they cannot be a secret."""

from __future__ import annotations

import base64
import codecs
import html
import json
import urllib.parse
from collections.abc import Callable

import pytest

from backlotfs.api.answers import MAX_WORDS, Answer, message_of, one_line, plain_words, refusal
from backlotfs.errors import RateLimited
from backlotfs.http.pool import parse_s3_error

#: As a key of S3 and a signature of ours look.
SECRET = "abcd-EFGH_ijklmnop0123456789qrstuvWXYZ12"
SIGNATURE = "vjbyPxybdZaNmGa+yT272YEAiv4/0123456789abcd="


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Invalid signature.", "Invalid signature."),
        ("Rate limit exceeded", "Rate limit exceeded"),
        ("Rate limit exceeded, retry after 17 seconds.", "Rate limit exceeded, retry after 17 sec"),
        ("try again in 3.5s", "try again in 3.5s"),
        ("The request has expired", "The request has expired"),
        ({"description": ["cannot contain hidden chars"]}, "description: cannot contain hidden"),
        ("These parameters are missing: api_key, signature, expires.", "These parameters are miss"),
        ('{"missing_chunks":[],"bad_chunks":["x1"]}', "missing_chunks: none; bad_chunks: …"),
        ("[not json", "[not json"),
        ("two\nlines\x1b[31m\u202e of it", "… of it"),
        (None, ""),
        (7, ""),
    ],
)
def test_messages_of_plain_words_are_shown(message: object, words: str) -> None:
    """Text, object or JSON in a text: one line of the words that are known to be harmless."""
    shown = plain_words(message_of(json.dumps({"message": message}).encode()))
    assert shown.startswith(words)
    assert shown.isprintable()


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'"x"', b"{", b"[" * 100_000, b"\xff\xfe", b'{"message":null}']
)
def test_bodies_without_a_message(body: bytes) -> None:
    """No message is an empty one, whatever came instead."""
    assert message_of(body) == ""


def test_other_names_and_invalid_utf8() -> None:
    """``error`` serves when there is no message; bytes that are not UTF-8 are replaced."""
    assert message_of(b'{"error": "no \xff"}') == "no \ufffd"


def test_bounded() -> None:
    """A message of megabytes, of many words, or of great depth is cut."""
    assert message_of(json.dumps({"message": "x" * 5_000_000}).encode()) == "", "no message"
    assert len(plain_words("no " * 1_000_000).split()) == MAX_WORDS + 1
    assert plain_words("x " * 1_000_000) == ""
    deep: object = "end"
    for _ in range(200):
        deep = {"k": deep}
    assert message_of(json.dumps({"message": deep}).encode()) == "k: k: k: k: …"
    assert one_line("abc", 3) == "abc"
    assert one_line("abcd", 3) == "ab…"


def _spaced(size: int) -> Callable[[str], str]:
    return lambda text: " ".join(text[at : at + size] for at in range(0, len(text), size))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quoted": lambda text: f"'{text}'",
    "upper case": str.upper,
    "lower case": str.lower,
    "reversed": lambda text: text[::-1],
    "in a URL": lambda text: f"http://h/p?signature={text}",
    "in a path": lambda text: f"http://h/{text}/p",
    "base64": _base64,
    "base64 without padding": lambda text: _base64(text).rstrip("="),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 twice": lambda text: _base64(_base64(text)),
    "base64 of a request": lambda text: _base64(f"GET /v2/assets?signature={text}"),
    "base64 in lines": lambda text: base64.encodebytes((text * 3).encode()).decode(),
    "base64, reversed": lambda text: _base64(text)[::-1],
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "base85": lambda text: base64.b85encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "hex, upper case": lambda text: text.encode().hex().upper(),
    "hex with colons": lambda text: text.encode().hex(":"),
    "hex with spaces": lambda text: text.encode().hex(" "),
    "percent": lambda text: urllib.parse.quote(text, safe=""),
    "percent twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe="")),
    "percent, each byte": lambda text: "".join(f"%{ord(one):02x}" for one in text),
    "HTML entities": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(one):x};" for one in text),
    "HTML, escaped": html.escape,
    "JSON escapes": lambda text: "".join(f"\\u{ord(one):04x}" for one in text),
    "UTF-16": lambda text: text.encode("utf-16-le").decode("latin-1"),
    "chunks of 4": _spaced(4),
    "chunks of 8": _spaced(8),
    "single letters": _spaced(1),
    "decimal": lambda text: " ".join(str(ord(one)) for one in text),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "full width": lambda text: "".join(chr(ord(one) + 0xFEE0) for one in text),
}


def _longest_part(text: str, shown: str) -> int:
    """How many characters of ``text`` in a row ``shown`` holds."""
    return max(
        (size for size in range(1, len(text) + 1) for at in range(len(text) - size + 1)
         if text[at : at + size] in shown),
        default=0,
    )  # fmt: skip


@pytest.mark.parametrize("spelling", sorted(SPELLINGS))
@pytest.mark.parametrize("secret", [SECRET, SIGNATURE])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500])
def test_no_spelling_of_a_secret_is_shown(spelling: str, secret: str, status: int) -> None:
    """The error keeps the words around it; of the secret not one piece, in any encoding."""
    told = SPELLINGS[spelling](secret)
    body = json.dumps({"message": f"Invalid signature {told} for this request"}).encode()
    answer = Answer("h", "/r", status, {}, body, 0.0)
    error = refusal(answer, expires=2, server_now_s=1.0)
    assert error is not None
    text = f"{error} {error!r} {error.advice()}"
    assert str(error).endswith(
        f"h answered {status} for /r: Invalid signature … for this request"
    ) or spelling in ("single letters", "chunks of 4")
    for form in (told, secret):
        assert _longest_part(form, text.split(": ", 1)[1]) < 10
    if spelling not in ("single letters",):
        assert not any(piece in text for piece in told.split() if len(piece) > 2)


def test_a_pause_is_understood_before_the_text_is_cut_down() -> None:
    """Its number is read from the whole text, and shown where it stands as a time."""
    body = json.dumps({"message": f"{_base64(SECRET)} Limit reached, retry in 23 seconds"}).encode()
    error = refusal(Answer("h", "/r", 429, {}, body, 0.0), expires=2, server_now_s=1.0)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 23
    assert str(error) == "h answered 429 for /r: … Limit reached, retry in 23 seconds"


def test_only_known_codes_of_a_source_host_are_shown() -> None:
    """An unknown one could be what we sent."""
    assert parse_s3_error(b"<Code>SlowDown</Code>").code == "SlowDown"
    code = SIGNATURE.encode().hex()[:60]
    assert parse_s3_error(f"<Code>{code}</Code>".encode()).code == ""
