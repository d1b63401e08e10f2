# SPDX-License-Identifier: Apache-2.0
"""Secrets are removed from every text on its way to a log, a terminal or an error.

Four rules find them:

1. a secret that was given to `hide`, in all encodings of a URL;
2. everything after the ``?`` of a URL, and the name and password before its ``@``;
3. the value of a signing parameter or credential anywhere else: ``Signature=…``,
   ``Signature%3D…``, ``'token': '…'``, ``<AWSAccessKeyId>…``;
4. the rest of an ``Authorization`` or ``Cookie`` line, and the token after ``Bearer``.

`MARK` replaces each secret; hosts and paths are kept. To redact a text a second time changes
nothing. The time of each rule is linear in the length of the text, because the text may come from a
server.
"""

from __future__ import annotations

import http.client
import logging
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

#: Replaces a secret.
MARK = "<redacted>"
#: Shorter values are ignored, because they may be words of ordinary text.
SHORTEST_SECRET = 8

_NAME = (
    r"(?:x-(?:amz|goog)-[a-z0-9-]{1,40}|awsaccesskeyid|googleaccessid|signature|expires|policy"
    r"|key-pair-id|(?:[a-z0-9_-]{0,40}[_-])?token|api_?(?:key|secret)|sig|secret|password)"
)
#: The start of a word; also after an encoded ``?`` or ``&`` (``%3F``, ``\u0026``), because the
#: escape ends in a letter or digit.
_BEGIN = r"(?:(?<![a-z0-9_-])|(?<=3f)|(?<=26))"
_EQUALS = r"(?: ?(?:=|%(?:25){0,3}3d|\\u003d) ?)"
_ASSIGNED = re.compile(rf"({_BEGIN}{_NAME}{_EQUALS}(?:b?[\"'])?)([^\s&\"'<>]+)", re.IGNORECASE)
#: In ``'token': 'x'`` any value is redacted; in ``token: x`` (`_SAID`) only one of 16 characters
#: or more, because a shorter one may be an ordinary word.
_QUOTED = re.compile(
    rf"([\"']{_NAME}[\"']\s*:\s*b?)(\"[^\"]*\"?|'[^']*'?|[^\s\"'<>,}}\]]+)", re.IGNORECASE
)
_SAID = re.compile(rf"({_BEGIN}{_NAME}:[ ]?)([^\s\"'<>]{{16,}})", re.IGNORECASE)
_ELEMENT = re.compile(
    r"(<(?:awsaccesskeyid|signature\w{0,20}|stringtosign\w{0,20}|canonicalrequest\w{0,20}|expires"
    r"|policy|\w{0,20}token)>)[^<]+",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"((?:authorization|cookie)[\"']?\s*[:=]\s*(?:b?[\"'])?)([^\r\n\"'\\]+)", re.IGNORECASE
)
_BEARER = re.compile(r"\b(bearer )[a-z0-9+/=._~%-]{8,}", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^\s/?#@]+(?=@)")
_RUN = re.compile(r"\S+")
#: Characters after a URL that close a sentence, a quotation or a call.
_CLOSERS = "'\")]}>,;:.!"

_hidden: tuple[str, ...] = ()


def hide(*secrets: str) -> None:
    """Redact these secrets from now on, in the whole process. Thread-safe.

    Values shorter than `SHORTEST_SECRET` are ignored.
    """
    global _hidden  # a process has one log, and thus one set of secrets
    _hidden = _longest_first((*_hidden, *(form for secret in secrets for form in _forms(secret))))


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` without secrets.

    :param secrets: values to remove in addition to those of `hide`, of any length.
    """
    own = _longest_first(form for secret in secrets if secret for form in _encoded(secret))
    for secret in (*own, *_hidden):
        text = text.replace(secret, MARK)
    if "?" in text:
        text = _RUN.sub(_without_query, text)
    if "@" in text:
        text = _USER.sub(MARK, text)
    text = _HEADER.sub(rf"\1{MARK}", text)
    text = _ELEMENT.sub(rf"\1{MARK}", text)
    text = _ASSIGNED.sub(_without_value, text)
    text = _QUOTED.sub(_without_quoted, text)
    text = _SAID.sub(_without_value, text)
    return _BEARER.sub(rf"\1{MARK}", text)


class RedactingFilter(logging.Filter):
    """A logger's filter that redacts every record, for all handlers, and lets it pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact message and traceback in place; returns True."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # else logging would print the arguments
            message = f"{record.msg} (its arguments do not fit)"
        record.msg, record.args = redacted(message), ()
        if record.exc_info:
            # a formatter shows this text instead of making its own
            record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
        return True


_LIBRARIES = ("urllib3", "requests", "http.client")
_FILTER = RedactingFilter()
_HTTP_LOG = logging.getLogger("http.client")


def redact_library_logs() -> None:
    """Redact all log lines of urllib3, requests and `http.client` from now on, for all handlers.

    Call it again after the import of a library. Any thread may call it.
    """
    for name in list(logging.Logger.manager.loggerDict):
        if name.startswith(_LIBRARIES):
            logging.getLogger(name).addFilter(_FILTER)
    # With a ``debuglevel``, `http.client` uses print() and no logger. A name of the module goes
    # before the builtin.
    http.client.print = _debug_line  # type: ignore[attr-defined]  # the name is ours to add


def _debug_line(*words: object, **_how: object) -> None:
    _HTTP_LOG.debug("%s", redacted(" ".join(str(word) for word in words)))


def _forms(secret: str) -> Iterable[str]:
    return _encoded(secret) if len(secret) >= SHORTEST_SECRET else ()


def _encoded(secret: str) -> set[str]:
    plain = quote(secret, safe="")
    lower = re.sub(r"%..", lambda match: match[0].lower(), plain)
    return {secret, plain, lower, quote(secret), quote_plus(secret)}


def _longest_first(values: Iterable[str]) -> tuple[str, ...]:
    # A secret may contain another one: the longer one is replaced first.
    return tuple(sorted(set(values), key=lambda value: (-len(value), value)))


def _without_query(run: re.Match[str]) -> str:
    start, _, query = run[0].partition("?")
    kept = query.rstrip(_CLOSERS)
    tail = query[len(kept) :]
    is_url = "/" in start or "=" in query or "%3d" in query.lower()
    if not kept or not is_url or MARK.startswith(kept):  # `rstrip` removed the ">" of the mark
        return run[0]
    return f"{start}?{MARK}{tail}"


def _without_value(match: re.Match[str]) -> str:
    value = match[2].rstrip(_CLOSERS)
    return f"{match[1]}{MARK}{match[2][len(value) :]}" if value else match[0]


def _without_quoted(match: re.Match[str]) -> str:
    value = match[2]
    quote_mark = value[0] if value[0] in "\"'" else ""
    closed = quote_mark if len(value) > 1 and value.endswith(quote_mark or "\n") else ""
    return f"{match[1]}{quote_mark}{MARK}{closed}"
