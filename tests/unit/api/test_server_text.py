"""Messages of servers, made harmless."""

from __future__ import annotations

import json

import pytest

from backlotfs.api.server_text import message_of, one_line


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Invalid signature.", "Invalid signature."),
        ({"description": ["cannot contain hidden chars"]}, "description: cannot contain hidden"),
        ('{"missing_chunks":[],"bad_chunks":[1]}', "missing_chunks: none; bad_chunks: 1"),
        ("[not json", "[not json"),
        (["a", None, True], "a, null, true"),
        ("two\nlines\x1b[31m\u202e", "two lines [31m"),
        (None, ""),
        (7, "7"),
    ],
)
def test_message_becomes_one_plain_line(message: object, words: str) -> None:
    """Text, object or JSON in a text: one line of words."""
    said = message_of(json.dumps({"message": message}).encode())
    assert said.startswith(words)
    assert said.isprintable()


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
    """A message of megabytes or of great depth is cut."""
    assert len(message_of(json.dumps({"message": "x" * 50_000}).encode())) == 300
    assert message_of(json.dumps({"message": "x" * 5_000_000}).encode()) == "", "no message"
    deep: object = "end"
    for _ in range(200):
        deep = {"k": deep}
    assert message_of(json.dumps({"message": deep}).encode()) == "k: k: k: k: …"
    assert one_line("abc", 3) == "abc"
    assert one_line("abcd", 3) == "ab…"


def test_secrets_are_not_repeated() -> None:
    """A server may echo what it was sent: secrets, in either encoding, and URL queries go."""
    said = "no a+b/c and a%2Bb%2Fc; see http://h/p?X=1&Signature=abc"
    shown = message_of(json.dumps({"message": said}).encode(), ["a+b/c"])
    assert shown == "no <redacted> and <redacted>; see http://h/p?<redacted>"
