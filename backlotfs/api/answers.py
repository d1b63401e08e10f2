# SPDX-License-Identifier: Apache-2.0
"""The meaning of an API answer: its JSON, or the error for its status and message. Pure.

Of a server's message, an error contains only `plain_words`: one line without secrets.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from backlotfs.api.rate_limiter import retry_after_s
from backlotfs.api.untrusted_json import MalformedJson
from backlotfs.errors import (
    AnswerTimedOut,
    BacklotError,
    CredentialsRefused,
    NoSuchEntry,
    ProtocolViolation,
    RateLimited,
    RemoteUnavailable,
)

MAX_MESSAGE_LENGTH = 300
#: A page of 500 assets with metadata is about 1 MB; a larger body is a fault or an attack.
MAX_BODY_BYTES = 32 * 1024 * 1024
_MAX_DEPTH = 4
_MAX_SAID = 65_536  # bytes of a body, and characters of a message, that are read
_MAX_SEARCHED = 2_400  # characters of a message that are searched for words to show
#: Words of a server's text that are shown.
MAX_WORDS = 40
_WORD = re.compile(r"[\"'(\[]?([A-Za-z_]{1,20})[\"')\]]?[.,:;!?]?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,3})?")
_TIME = re.compile(rf"{_NUMBER.pattern}(?:s|sec|m|min)[.,;]?")
_UNITS = frozenset(("s", "sec", "second", "seconds", "min", "minute", "minutes"))
#: Words of error messages, and names of the API's own parameters and fields.
_KNOWN = """
    a about accept accepted access account action after again ago all allowed already an and any api
    api_key are as asset asset_type assets at authentication authorization authorized available back
    bad be because been before being but by call called calls can cannot captions caption characters
    chars check clock code codes condition conflict connection contact contain contains content
    could credentials credit credits current currently data database date denied description
    descriptions did disabled do document does down due duplicate embed embed_code empty enabled
    encoding enough error errors exceeded exist existing exists expected expire expired expires
    expiry failed failure field file fields filter for forbidden format found from future gateway
    given gone had has have header hidden host id if ignored in include incorrect internal invalid
    is it its json key label labels large later least left length level limit limited limits list
    long made maintenance malformed many matches match message method minimum missing missing_chunks
    bad_chunks more most must name names need needed new next next_page no none not null number of
    off on one only operation option or order orderby other out over page page_token parameter
    parameters parse past path payload per permission permissions please policy present processing
    properly provide provided query quota rate reached read received record refused rejected repeat
    request requested requests required reset resource response retry right rights route secret
    see server service should signature signed since size slow some soon source source_file_info
    status stopped streams such support supported system temporarily temporary than that the their
    then there these they this those throttled throttling time timed timeout times timestamp to
    token too try type unable unauthorized unavailable under unexpected unknown unsupported until
    up upstream url use used user valid value values version video videos wait was we were when
    where which while will window with within without wrong you your
"""
_WORDS = _UNITS | frozenset(_KNOWN.split())


def one_line(text: str, limit: int = MAX_MESSAGE_LENGTH) -> str:
    """``text`` with white space and unprintable characters as single spaces, cut at ``limit``."""
    # cut first, generously: a hostile text may be megabytes
    head = text[: limit * 8]
    clean = " ".join("".join(c if c.isprintable() else " " for c in head).split())
    return clean if len(clean) <= limit and len(text) == len(head) else clean[: limit - 1] + "…"


def message_of(body: bytes) -> str:
    """The ``message`` of an error answer, at most 64 Ki characters; ``""`` if there is none.

    The message may contain a signature in any spelling: show only its `plain_words`.

    A message may be text, an object, or JSON in a text.
    """
    if len(body) > _MAX_SAID:
        return ""  # too long for a message: an HTML page, or an attack on our memory
    document = _json_or_none(body.decode("utf-8", "replace"))
    if not isinstance(document, dict):
        return ""
    said = document.get("message", document.get("error", document.get("errors")))
    if said is None:
        return ""
    if isinstance(said, str) and said.lstrip()[:1] in ("{", "["):
        inner = _json_or_none(said)
        said = said if inner is None else inner
    return _plain(said, _MAX_DEPTH)[:_MAX_SAID]


def plain_words(text: str) -> str:
    """The words of a server's text that cannot be a secret, on one line; ``…`` replaces the others.

    Shown are the words in `_WORDS` and at most two times in seconds or minutes; with each ``…``
    they are at most `MAX_WORDS`. A server may repeat the request in any encoding, so no rule could
    recognize every secret.
    """
    shown: list[str] = []
    times = 0
    tokens = text[:_MAX_SEARCHED].split()
    for token, following in itertools.zip_longest(tokens, tokens[1:], fillvalue=""):
        if len(shown) == MAX_WORDS:
            return " ".join([*shown, "…"]).replace("… …", "…")
        word = _WORD.fullmatch(token)
        if word is not None and word[1].lower() in _WORDS and _has_usual_case(word[1]):
            shown.append(token)
        elif times < 2 and (_TIME.fullmatch(token) or _is_time(token, following)):
            times += 1
            shown.append(token)
        elif not shown or shown[-1] != "…":
            shown.append("…")
    return " ".join(shown) if shown != ["…"] else ""


def _is_time(token: str, following: str) -> bool:
    unit = _WORD.fullmatch(following)
    return bool(_NUMBER.fullmatch(token)) and unit is not None and unit[1].lower() in _UNITS


def _has_usual_case(word: str) -> bool:
    return word.islower() or word.isupper() or word.istitle()


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


T = TypeVar("T")
# "These parameters are missing: api_key, signature, expires." is not an expiry
_SAYS_EXPIRED = re.compile(r"\bexpired\b", re.IGNORECASE)
_SAYS_NOTHING = re.compile(r"(bad request|unauthorized)?\W*", re.IGNORECASE)


class UnreadableAnswer(ProtocolViolation):
    """A success (2xx) without readable JSON. The cause may be temporary: another try is made."""

    transient = True


class RequestExpired(CredentialsRefused):
    """The server says that our ``expires`` is past; `client` decides whether to sign again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer.

    :ivar host: the host that answered, for messages.
    :ivar route: the requested path, without query.
    :ivar headers: a mapping that ignores the case of names.
    :ivar body: the body, decompressed.
    :ivar arrived_at_s: our wall clock when the headers had arrived, seconds since the epoch.
    """

    host: str
    route: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    arrived_at_s: float


def read_body(answer: Answer, read: Callable[[bytes], T]) -> T:
    """The result of ``read`` for the body of a success.

    :raises UnreadableAnswer: the body is empty, HTML or cut off: ``read`` raised `MalformedJson`.
    :raises ProtocolViolation: ``read`` raised it: the body is not what was requested.
    """
    where = f"{answer.host} answered {answer.route} with"
    try:
        return read(answer.body)
    except MalformedJson as error:
        raise UnreadableAnswer(f"{where} {error}") from None
    except ProtocolViolation as error:
        raise ProtocolViolation(f"{where} {error}") from None


def refusal(answer: Answer, *, expires: int, server_now_s: float) -> BacklotError | None:
    """The error for an answer; None for a success.

    :param expires: the ``expires`` of the signed request, seconds since the epoch.
    :param server_now_s: the time by the server's clock, seconds since the epoch.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    said = message_of(answer.body)  # never shown: it may repeat the signature
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
        target = _target(answer)
        remedy = "set the API URL to the address where the API is"
        if target is not None:
            remedy = f"if the API is there, write {target} in the API URL"
        return ProtocolViolation(
            f"{answer.host} redirects {answer.route} to {target or 'another path of its own'}, and"
            f" redirects are not followed; {remedy}"
        )
    return ProtocolViolation(told)


def _means_expired(said: str, expires: int, server_now_s: float) -> bool:
    # The text is not documented. So a refusal without a reason also counts as expired, if
    # ``expires`` is past by the server's clock.
    bare = _SAYS_NOTHING.fullmatch(said) is not None
    return _SAYS_EXPIRED.search(said) is not None or (bare and expires <= server_now_s)


def _target(answer: Answer) -> str | None:
    """Scheme and host of a redirect's target; None if the redirect names no host."""
    try:
        target = urlsplit(answer.headers.get("Location", ""))
        host, port = target.hostname, target.port
    except ValueError:
        host = None
    if not host:
        return None
    address = f"{target.scheme}://{host}" if target.scheme in ("http", "https") else host
    return one_line(address + (f":{port}" if port else ""), 120)
