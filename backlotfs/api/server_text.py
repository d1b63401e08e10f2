"""Text that a server sent, made fit for one line of a terminal or a log. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

from backlotfs.redaction import redacted

MAX_MESSAGE_LENGTH = 300
_MAX_DEPTH = 4
_MAX_SAID = 65_536  # what is worth searching for secrets; one_line() shows far less of it


def one_line(text: str, limit: int = MAX_MESSAGE_LENGTH) -> str:
    """``text`` with white space and unprintable characters as single spaces, cut at ``limit``."""
    # cut first, generously: a hostile text may be megabytes
    head = text[: limit * 8]
    clean = " ".join("".join(c if c.isprintable() else " " for c in head).split())
    return clean if len(clean) <= limit and len(text) == len(head) else clean[: limit - 1] + "…"


def message_of(body: bytes, secrets: Iterable[str] = ()) -> str:
    """What an error answer says: its ``message``, redacted, on one line; ``""`` without one.

    A message may be text, an object, or JSON in a text; each becomes plain words.
    """
    if len(body) > _MAX_SAID:
        return ""  # no message: a page, or something made to fill our memory
    document = _json_or_none(body.decode("utf-8", "replace"))
    if not isinstance(document, dict):
        return ""
    said = document.get("message", document.get("error", document.get("errors")))
    if said is None:
        return ""
    if isinstance(said, str) and said.lstrip()[:1] in ("{", "["):
        inner = _json_or_none(said)
        said = said if inner is None else inner
    return one_line(redacted(_plain(said, _MAX_DEPTH)[:_MAX_SAID], secrets))


def _json_or_none(text: str) -> object:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found


def _plain(value: object, depth: int) -> str:
    if depth == 0:
        return "…"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_plain(inner, depth - 1)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(inner, depth - 1) for inner in value) or "none"
    return value if isinstance(value, str) else json.dumps(value)
