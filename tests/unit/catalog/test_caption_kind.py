"""What a caption document is, told by its bytes alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.catalog.caption_kind import KINDS, is_nothing, kind_of

TT = b'<tt xmlns="http://www.w3.org/ns/ttml"><body/></tt>'
SRT = b"1\n00:00:01,000 --> 00:00:02,000\nHello\n"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (TT, "dfxp"),
        (b'<?xml version="1.0" encoding="UTF-8"?>\n<!-- made -->\n' + TT, "dfxp"),
        (b"<!DOCTYPE tt SYSTEM 'x'>" + TT, "dfxp"),
        (b"\xef\xbb\xbf\r\n<tt:tt\n>", "dfxp"),
        ("\ufeff<?xml version='1.0'?><tt/>".encode("utf-16-le"), "dfxp"),
        ("\ufeff<tt></tt>".encode("utf-16-be"), "dfxp"),
        (b"WEBVTT", "vtt"),
        (b"\xef\xbb\xbfWEBVTT - title\n\n00:01.000 --> 00:02.000\n", "vtt"),
        (SRT, "srt"),
        (b"\xef\xbb\xbf\r\n" + SRT.replace(b"\n", b"\r\n"), "srt"),
        (b"Scenarist_SCC V1.0\n\n00:00:00:22\t9425 9425\n", "scc"),
        (b"<html><body>Please log in</body></html>", None),
        (b"<!DOCTYPE html><html>", None),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', None),
        (b"<ttx/>", None),
        (b"<tt", None),
        (b"WEBVTTX", None),
        (b'{"url": "https://host/captions.vtt"}', None),
        (b"1\nhello\n", None),
        (b"", None),
        (b"\xff\xfe", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"<!--" * 4000 + b"<tt/>", None),
    ],
)
def test_kinds(body: bytes, kind: str | None) -> None:
    """What is no captions is no kind: nothing is called captions on hearsay."""
    assert kind_of(body) == kind


@given(st.binary(max_size=300) | st.text("<!->?tWEBV \n1:,", max_size=300).map(str.encode))
def test_any_bytes(body: bytes) -> None:
    """Whatever a server sends, it is told at once, and only by what is in it."""
    assert kind_of(body) in {None, *KINDS}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}\n", b" null ", b'""', b'{"items": []}', b"\r\n"])
def test_nothing(body: bytes) -> None:
    """The ways to say "none"."""
    assert is_nothing(body)
    assert kind_of(body) is None


@pytest.mark.parametrize(
    "body", [TT, SRT, b"[1]", b'{"url": "x"}', b"{" * 5000, b"nothing", b"\xff\xfe"]
)
def test_something(body: bytes) -> None:
    """All else is an answer to look at."""
    assert not is_nothing(body)
