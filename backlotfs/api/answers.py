"""What an answer of the API means: its JSON, or the error it stands for. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from backlotfs.api.rate_status import retry_after_s
from backlotfs.api.server_text import message_of, one_line, plain_words
from backlotfs.errors import (
    BacklotError,
    CredentialsRefused,
    NoSuchEntry,
    ProtocolViolation,
    RateLimited,
    RemoteUnavailable,
)

# "These parameters are missing: api_key, signature, expires." is not an expiry
_SAYS_EXPIRED = re.compile(r"\bexpired\b", re.IGNORECASE)
_SAYS_NOTHING = re.compile(r"(bad request|unauthorized)?\W*", re.IGNORECASE)


class UnreadableAnswer(ProtocolViolation):
    """A 200 without readable JSON: likely a proxy or a fault of the moment, worth a retry."""


class RequestExpired(CredentialsRefused):
    """The server calls our ``expires`` past; the requester settles what that means."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer.

    :ivar host: who answered, for messages.
    :ivar route: the path asked for, without query.
    :ivar headers: must look names up without regard to case.
    :ivar body: decompressed.
    :ivar arrived_at_s: our wall clock when the headers were there, seconds since the epoch.
    """

    host: str
    route: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    arrived_at_s: float


def read_json(answer: Answer) -> object:
    """The JSON of a success. Bytes that are not UTF-8 become U+FFFD.

    :raises UnreadableAnswer: empty, HTML, or not whole.
    :raises ProtocolViolation: nested beyond reason.
    """
    where = f"{answer.host} answered {answer.route} with"
    text = answer.body.decode("utf-8-sig", "replace")
    try:
        document: object = json.loads(text)
    except RecursionError:
        raise ProtocolViolation(f"{where} JSON nested too deeply") from None
    except ValueError:
        raise UnreadableAnswer(f"{where} {_unreadable(text)}") from None
    return document


def _unreadable(text: str) -> str:
    start = text.lstrip()[:1]
    if not start:
        return "an empty body instead of JSON"
    if start == "<":
        return "HTML instead of JSON"
    return "malformed or cut-off JSON" if start in "{[" else "something that is not JSON"


def refusal(answer: Answer, *, expires: int, server_now_s: float) -> BacklotError | None:
    """The error that an answer stands for; None for a success.

    :param expires: what the request was signed with, seconds since the epoch.
    :param server_now_s: the time by the server's clock, seconds since the epoch.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    said = message_of(answer.body)  # for its meaning; it may repeat what we sent
    shown = plain_words(said)
    told = f"{answer.host} answered {status} for {answer.route}" + (f": {shown}" if shown else "")
    if status in (400, 401) and _means_expired(said, expires, server_now_s):
        return RequestExpired(told)
    if status == 401:
        return CredentialsRefused(f"the API does not accept the key or the secret: {told}")
    if status == 403:
        return CredentialsRefused(f"the API key lacks the right for {answer.route}: {told}")
    if status == 404:
        return NoSuchEntry(told)
    if status == 429:
        return RateLimited(told, retry_after_s=retry_after_s(said, answer.headers, server_now_s))
    if status >= 500 or status == 408:
        return RemoteUnavailable(told, status=status)
    if 300 <= status < 400:
        return ProtocolViolation(
            f"{answer.host} redirects {answer.route} to {_target(answer)}, which is not followed:"
            " set the API URL to where the API is"
        )
    return ProtocolViolation(told)


def _means_expired(said: str, expires: int, server_now_s: float) -> bool:
    # the text is not documented: a bare refusal of what the server's clock calls past counts too
    bare = _SAYS_NOTHING.fullmatch(said) is not None
    return _SAYS_EXPIRED.search(said) is not None or (bare and expires <= server_now_s)


def _target(answer: Answer) -> str:
    try:
        host = urlsplit(answer.headers.get("Location", "")).hostname
    except ValueError:
        host = None
    return one_line(host, 100) if host else "another path of its own"
