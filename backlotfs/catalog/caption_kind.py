"""What kind of captions a document holds, by its bytes: the API does not say. Pure."""

from __future__ import annotations

import codecs
import json
import re

#: Every kind there is, which is what the file's name ends in, with its MIME type.
KINDS = {
    "dfxp": "application/ttml+xml",
    "vtt": "text/vtt",
    "srt": "application/x-subrip",
    "scc": "text/x-scc",
}
#: Nothing that tells the kind stands later in a document.
_HEAD_BYTES = 8192

_WEBVTT = re.compile(r"WEBVTT(?=[ \t\r\n]|$)")
_SCC = re.compile(r"Scenarist_SCC V\d")
_SRT = re.compile(r"\d{1,9}[ \t]*\r?\n\d{1,3}:\d\d:\d\d[,.]\d{1,3}[ \t]*-->")
#: What may stand in front of the first element of XML, one at a time.
_PROLOGUE = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*>", re.DOTALL)
_TIMED_TEXT = re.compile(r"<(?:[\w.-]{1,40}:)?tt(?=[\s/>])")


def is_nothing(body: bytes) -> bool:
    """Whether an answer says that there are no captions: empty, or JSON with nothing in it."""
    if not body.strip():
        return True
    try:
        said = json.loads(body) if len(body) < _HEAD_BYTES else True
    except (ValueError, RecursionError):
        return False
    return not (any(said.values()) if isinstance(said, dict) else said)


def kind_of(body: bytes) -> str | None:
    """One of `KINDS`; None for what is none of them, as a page of HTML that a proxy sent."""
    text = _head(body)
    if _WEBVTT.match(text):
        return "vtt"
    text = text.lstrip()
    if _SCC.match(text):
        return "scc"
    if _SRT.match(text):
        return "srt"
    at = 0
    while found := _PROLOGUE.match(text, at):
        at = found.end()
    return "dfxp" if _TIMED_TEXT.match(text, at) else None


def _head(body: bytes) -> str:
    """The beginning as text, without the mark of byte order that it may have."""
    head = body[:_HEAD_BYTES]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return head.decode("utf-16", "replace")
    return head.decode("utf-8-sig", "replace")
