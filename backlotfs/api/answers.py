"""What an answer of the API means: its JSON, or the error it stands for. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from backlotfs.api.bounded_json import MalformedJson
from backlotfs.api.rate_limiter import retry_after_s
from backlotfs.api.server_text import message_of, one_line, plain_words
from backlotfs.errors import (
    AnswerTimedOut,
    BacklotError,
    CredentialsRefused,
    NoSuchEntry,
    ProtocolViolation,
    RateLimited,
    RemoteUnavailable,
)

T = TypeVar("T")
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


def read_body(answer: Answer, read: Callable[[bytes], T]) -> T:
    """What ``read`` makes of the body of a success.

    :raises UnreadableAnswer: empty, HTML, or not whole: ``read`` raised `MalformedJson`.
    :raises ProtocolViolation: ``read``'s; it is not what was asked for.
    """
    where = f"{answer.host} answered {answer.route} with"
    try:
        return read(answer.body)
    except MalformedJson as error:
        raise UnreadableAnswer(f"{where} {error}") from None
    except ProtocolViolation as error:
        raise ProtocolViolation(f"{where} {error}") from None


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
    if status == 504:
        return AnswerTimedOut(told, status=status)
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
