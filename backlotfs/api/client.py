# SPDX-License-Identifier: Apache-2.0
"""The routes of the Backlot API that a read-only client needs, by signed GETs with retries.

Each call of the API's own host takes a turn from the rate limiter first, and tells it what the
answer says of credits. A 429 sends the call back into the limiter's queue; it is no failure. The
deadline of an operation does not run while a call waits in that queue. A CDN host costs no credits.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import SplitResult, quote, urlsplit

import requests

from backlotfs.api.answers import Answer, RequestExpired, read_body, refusal
from backlotfs.api.paging import IN_MEMORY, ListingMeter, PageSize, walk
from backlotfs.api.rate_limiter import (
    ApiRateLimiter,
    Priority,
    Purpose,
    Turn,
    http_date_s,
    read_rate,
)
from backlotfs.api.records import (
    Asset,
    DeletedAsset,
    Label,
    Page,
    Source,
    is_identifier,
    parse_asset_page,
    parse_deleted_page,
    parse_labels,
    parse_source_file_info,
    parse_streams,
)
from backlotfs.api.signing import Credentials, round_expires, signed_query
from backlotfs.api.transport import MAX_BODY_BYTES, Transport
from backlotfs.api.untrusted_json import MAX_RECORD_CHARS, read_document
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.config.settings import Account
from backlotfs.errors import (
    AnswerTimedOut,
    BacklotError,
    CircuitOpen,
    ClockSkewed,
    CredentialsRefused,
    HostUnreachable,
    NoSuchEntry,
    RateLimited,
    SettingsError,
    SourceMissing,
)
from backlotfs.http.backoff import Backoff, RetryPolicy, TryAgain
from backlotfs.http.circuit_breaker import Breakers
from backlotfs.log import events

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
_ASSETS = "/v2/assets"
_DELETED = "/v2/deleted_assets"
_LABELS = "/v2/labels"
#: A page of 500 names costs as much as one size, and without it nothing new is shown: listings do
#: not stand behind the sizes that a long copy asks for.
_LISTING = Purpose(Priority.WAITING)
#: More is no caption document: a day of speech is 1 MB.
MAX_CAPTION_BYTES = 4 * 1024 * 1024
# our ``expires`` is at least 15 s ahead and a second attempt adds minutes: only a clock that is
# off by more than this needs a person
TOLERATED_SKEW_S = 60.0
_SECOND_ATTEMPT_MARGIN_S = 300


class CallResult(StrEnum):
    """How a call ended."""

    #: Answered with what was asked for.
    OK = "ok"
    #: Answered with an error: 404, 401, 5xx …
    ERROR = "error"
    #: Answered with 429.
    LIMITED = "limited"
    #: No answer came.
    UNANSWERED = "unanswered"


class CallKind(NamedTuple):
    """What calls are counted by. :ivar host: ``api``, or ``cdn`` for the CDN host."""

    host: str
    result: CallResult


class Base(NamedTuple):
    """A base URL, taken apart.

    :ivar origin: scheme and host.
    :ivar host: for messages.
    :ivar prefix: path before the routes, mostly ``""``; it is not signed.
    """

    origin: str
    host: str
    prefix: str


def parse_base(url: str, name: str) -> Base:
    """Take a base URL from the settings apart.

    :param name: what to call it in the message.
    :raises SettingsError: not ``http(s)://host[:port][/prefix]``.
    """
    try:
        parts = urlsplit(url)
        # the parser drops line ends in silence: look at what was written
        fits = url.isprintable() and " " not in url and _is_base(parts)
    except ValueError:
        fits = False
    if not fits:
        raise SettingsError(f"the {name} must look like https://host, without query or password")
    return Base(f"{parts.scheme}://{parts.netloc}", parts.netloc, parts.path.rstrip("/"))


def _is_base(parts: SplitResult) -> bool:
    extra = parts.query or parts.fragment or "@" in parts.netloc or parts.port == 0
    return not extra and parts.scheme in ("http", "https") and bool(parts.hostname)


@dataclass(frozen=True, slots=True)
class _Request(Generic[T]):
    """One call, before it is signed, and what its answer is to look like.

    :ivar route: percent-encoded path without the prefix: ``/v2/assets``.
    :ivar read: makes the result of the body; raises `MalformedJson`, after which the call is made
        again, or `ProtocolViolation`.
    :ivar purpose: for the rate limiter.
    :ivar limit_bytes: a larger body, decompressed, is a `ProtocolViolation`.
    :ivar queued_before_s: `Deadline.queued_s` before this call, where the longest wait for credits
        is that of each call, and not of the operation that the deadline is for.
    """

    route: str
    read: Callable[[bytes], T]
    deadline: Deadline
    purpose: Purpose
    params: Mapping[str, str] = field(default_factory=dict)
    limit_bytes: int = MAX_BODY_BYTES
    accept: str = "application/json"
    queued_before_s: float = 0.0


class ApiClient:
    """Signed GETs on one account, as records. Any number of threads may use one client.

    Every method raises, beside what it names itself:

    - :class:`CredentialsRefused` for 401 and 403 (never retried), :class:`ClockSkewed` when that
      comes of this machine's clock;
    - :class:`NoSuchEntry` for 404;
    - :class:`RateLimited` when no credit came within the rate limiter's longest wait;
    - :class:`RemoteUnavailable` when connecting or the server (5xx) kept failing;
    - :class:`DeadlineExceeded` when the time ended first;
    - :class:`ProtocolViolation` for answers that cannot be what was asked for.

    No error, log line or exception chain holds the secret, a signature or a signed URL.

    :ivar heard: set once a call of the API's own host has ended in any way other than
        :class:`CredentialsRefused`: it was answered, or the host cannot be reached.
    :ivar clock_skew_s: server's clock minus ours, by the ``Date`` of the last answer that came
        straight from the API (a cached one is as old as the cache likes); 0.0 until known. Good
        to about a second.
    """

    def __init__(
        self,
        account: Account,
        session: requests.Session,
        clock: Clock,
        *,
        limiter: ApiRateLimiter | None = None,
        retry: RetryPolicy | None = None,
        page_limit: int = 500,
    ) -> None:
        """Nothing is sent yet; the caller keeps the session and closes it.

        :param limiter: paces the calls of the API's own host; None: one of its own.
        :param page_limit: assets per page asked for; a server may cap it lower, and after a
            time-out fewer are asked for.
        :raises SettingsError: when a URL is none.
        :raises ValueError: for a page limit below 1.
        """
        self.clock_skew_s = 0.0
        self.heard = threading.Event()
        self._credentials = Credentials(account.api_key, account.api_secret)
        self._api = parse_base(account.api_url, "API URL")
        self._cdn = parse_base(account.cdn_url, "CDN URL") if account.cdn_url else None
        self._transport = Transport(session, clock, account.limits)
        self._clock = clock
        self._limiter = limiter or ApiRateLimiter(clock)
        self._retry = retry or RetryPolicy()
        self._page_size = PageSize(page_limit, account.limits.answer_s)
        self._breakers = Breakers(clock)
        self._counting = threading.Lock()
        self._calls: Counter[CallKind] = Counter()

    def count_calls(self) -> dict[CallKind, int]:
        """The number of calls since the start, by their kind."""
        with self._counting:
            return dict(self._calls)

    def iter_pages(
        self,
        *,
        deadline: Deadline,
        where: str | None = None,
        include: str | None = None,
        start: str | None = None,
    ) -> Iterator[Page[Asset]]:
        """The library, page by page, newest first.

        :param where: filter in the API's own language; a server without filters ignores it.
        :param include: ``metadata``, ``labels``, ``streams`` or several of them, with commas.
        :param start: a page's ``next_page``, to go on there; the filter is in it.
        :raises ProtocolViolation: also when the pages go round in a circle.
        """
        options = {"where": where, "include": include}
        params = {name: value for name, value in options.items() if value}
        return self._pages(
            _ASSETS,
            params,
            parse_asset_page,
            deadline=deadline,
            size=self._page_size,
            start=start,
        )

    def iter_deleted(self, *, deadline: Deadline) -> Iterator[Page[DeletedAsset]]:
        """Recently deleted assets, page by page, newest deletion first."""
        return self._pages(
            _DELETED, {}, parse_deleted_page, deadline=deadline, size=self._page_size
        )

    def get_source(
        self,
        embed_code: str,
        *,
        deadline: Deadline,
        priority: Priority = Priority.WAITING,
        turn: Turn | None = None,
        fresh: bool = True,
    ) -> Source:
        """Size and a new signed URL of an asset's source file. One attempt: the caller tries again.

        ``/streams`` is asked first; without a source entry there, ``/source_file_info``. A source
        with a null URL is returned as it is.

        :param priority: in the rate limiter's queue, where the call is named by its embed code.
        :param turn: a turn that was taken for this already.
        :param fresh: False lets the CDN host answer, if there is one: free of credits, up to 5
            minutes late.
        :raises SourceMissing: neither route knows a source.
        :raises TryAgain: the API's credits were spent; a further attempt waits for one.
        """
        base = self._api if fresh or self._cdn is None else self._cdn
        purpose = Purpose(priority, embed_code, turn)

        def ask(last: str, parse: Callable[[object], T]) -> T | None:
            request = _Request(
                _route(_ASSETS, embed_code, last),
                lambda body: parse(read_document(body)),
                deadline,
                purpose,
                limit_bytes=MAX_RECORD_CHARS,
            )
            try:
                return self._call(request, base)
            except NoSuchEntry:
                return None

        source = ask("streams", parse_streams) or ask("source_file_info", parse_source_file_info)
        if source is None or (source.url is None and source.file_size is None):
            raise SourceMissing(f"the API knows no source file for {embed_code}")
        return source

    def get_captions(self, embed_code: str, *, deadline: Deadline) -> bytes:
        """The caption document of an asset as it is, of a kind that only its bytes tell.

        Without captions it is empty, or an empty piece of JSON, or the answer is
        :class:`NoSuchEntry`: the API's documentation does not say.

        :raises ProtocolViolation: more than :data:`MAX_CAPTION_BYTES`.
        """
        request = _Request(
            _route(_ASSETS, embed_code, "closed_captions"),
            lambda body: body,
            deadline,
            Purpose(Priority.BACKGROUND),
            limit_bytes=MAX_CAPTION_BYTES,
            accept="*/*",
        )
        return self._call_until_answered(request)

    def labels(self, deadline: Deadline) -> tuple[Label, ...]:
        """Every label of the account."""
        found: list[Label] = []
        meter = ListingMeter("labels", IN_MEMORY)
        for page in self._pages(_LABELS, {}, parse_labels, deadline=deadline):
            meter.page_in_memory([label.id for label in page.items], size_bytes=page.size_bytes)
            found.extend(page.items)
            for reason in page.skipped:
                events.LABEL_SKIPPED.log(_LOG, route=_LABELS, reason=reason)
            if page.skipped_more:
                reason = f"so are {page.skipped_more} more of this page"
                events.LABEL_SKIPPED.log(_LOG, route=_LABELS, reason=reason)
        return tuple(found)

    def _pages(
        self,
        route: str,
        first: Mapping[str, str],
        parse: Callable[[bytes], Page[T]],
        *,
        deadline: Deadline,
        size: PageSize | None = None,
        start: str | None = None,
    ) -> Iterator[Page[T]]:
        """Page by page; the parameters are those of `walk`."""

        def fetch(params: Mapping[str, str], *, retry_timeouts: bool) -> Page[T]:
            queued_s = deadline.queued_s
            request = _Request(route, parse, deadline, _LISTING, params, queued_before_s=queued_s)
            return self._call_until_answered(
                request, but_not=() if retry_timeouts else (AnswerTimedOut,)
            )

        return walk(
            fetch,
            route=route,
            first=first,
            deadline=deadline,
            clock=self._clock,
            size=size,
            start=start,
            prefix=self._api.prefix,
        )

    def _call_until_answered(
        self, request: _Request[T], *, but_not: tuple[type[BacklotError], ...] = ()
    ) -> T:
        """Call the API's own host, again after what passes.

        :param but_not: errors after which the call is not made again.
        """
        doing = f"GET {request.route} from {self._api.host}"
        backoff = Backoff(self._retry, request.deadline, self._clock, doing)
        return backoff.run(lambda: self._call(request, self._api), but_not=but_not)

    def _call(self, request: _Request[T], base: Base) -> T:
        """One call; a second one where the server takes a fresh signature for an expired one."""
        try:
            return self._paced(request, base, margin_s=0)
        except RequestExpired as error:
            skew_s = self.clock_skew_s
            if abs(skew_s) > TOLERATED_SKEW_S:
                side = "behind" if skew_s > 0 else "ahead of"
                raise ClockSkewed(
                    f"the API calls a fresh request expired: this machine's clock is"
                    f" {abs(skew_s):.0f} s {side} the server's;"
                    " set it, e.g. `timedatectl set-ntp true`"
                ) from error
        return self._paced(request, base, margin_s=_SECOND_ATTEMPT_MARGIN_S)

    def _paced(self, request: _Request[T], base: Base, *, margin_s: int) -> T:
        """One call that waits for its turn; the deadline does not run meanwhile."""
        host = base.host
        if base is not self._api:
            self._breakers.check(host)
            return self._exchange(request, base, margin_s=margin_s)
        purpose = request.purpose
        self._breakers.check(host, only_look=True)  # nobody waits for a call that is not made
        if purpose.turn is None or not purpose.turn.use():
            self._limiter.acquire(
                purpose.priority,
                key=purpose.key,
                deadline=request.deadline,
                waited_s=request.deadline.queued_s - request.queued_before_s,
            )
        try:
            self._breakers.check(host)
        except CircuitOpen:
            self._limiter.returned(purpose.priority)
            raise
        try:
            return self._exchange(request, base, margin_s=margin_s)
        except RateLimited:
            raise TryAgain from None  # the limiter ends it, when all waits are too long together

    def _exchange(self, request: _Request[T], base: Base, *, margin_s: int) -> T:
        counts = base is self._api  # towards the account's credits
        expires = round_expires(self._clock.now() + margin_s)
        query = signed_query(
            self._credentials, "GET", request.route, request.params, expires=expires
        )
        try:
            answer = self._transport.get(
                f"{base.origin}{base.prefix}{request.route}?{query}",
                host=base.host,
                route=request.route,
                deadline=request.deadline,
                accept=request.accept,
                limit_bytes=request.limit_bytes,
            )
        except BaseException as failure:
            if isinstance(failure, HostUnreachable):
                self._breakers.failed(base.host, str(failure))
            self._count(base, CallResult.UNANSWERED)
            if counts:
                self._limiter.failed()
                self.heard.set()
            raise
        self._breakers.reached(base.host)
        if counts:
            self._learn_time(answer)
        server_now_s = self._clock.now() + self.clock_skew_s
        error = refusal(answer, expires=expires, server_now_s=server_now_s)
        if isinstance(error, RateLimited):
            self._count(base, CallResult.LIMITED)
        else:
            self._count(base, CallResult.OK if error is None else CallResult.ERROR)
        if counts and isinstance(error, RateLimited):
            self._limiter.refused(error.retry_after_s)
        elif counts:
            now_s = self._clock.monotonic()
            self._limiter.answered(
                read_rate(answer.headers, monotonic_s=now_s, server_now_s=server_now_s)
            )
        if counts and not isinstance(error, CredentialsRefused):
            self.heard.set()
        if error is not None:
            raise error
        return read_body(answer, request.read)

    def _count(self, base: Base, result: CallResult) -> None:
        with self._counting:
            self._calls[CallKind("api" if base is self._api else "cdn", result)] += 1

    def _learn_time(self, answer: Answer) -> None:
        date_s = http_date_s(answer.headers.get("Date"))
        if date_s is not None and answer.headers.get("Age", "0").strip() == "0":
            # Date is cut to whole seconds: half a second later is the better guess
            self.clock_skew_s = date_s + 0.5 - answer.arrived_at_s


def _route(collection: str, identifier: str, *rest: str) -> str:
    """``/v2/assets/<id>/streams``, percent-encoded.

    :raises NoSuchEntry: for what cannot be an id, and in a path would name something else.
    """
    if not is_identifier(identifier):
        raise NoSuchEntry(f"{identifier!r} cannot be an id of the library")
    encoded = quote(identifier, safe="", errors="replace")
    return "/".join((collection, encoded, *rest))
