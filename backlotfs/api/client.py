# SPDX-License-Identifier: Apache-2.0
"""The routes of the Backlot API that a read-only client needs, by signed GETs with retries.

Each call of the API's own host first takes a turn from the rate limiter. The limiter then gets the
credits that the answer names. After a 429 the call waits in the limiter's queue again; this is not
a failure. The deadline of an operation does not run while a call waits in that queue. Calls of a
CDN host cost no credits.
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

from backlotfs.api.answers import MAX_BODY_BYTES, Answer, RequestExpired, read_body, refusal
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
from backlotfs.api.session import ApiSession
from backlotfs.api.signing import Credentials, round_expires, signed_query
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
#: A page of 500 names costs one credit, as one size does, and without the page nothing new is
#: shown. So listings have the same priority as sizes that programs wait for: otherwise they would
#: wait until a long copy has all its sizes.
_LISTING = Purpose(Priority.WAITING)
#: A larger answer is not a caption document: the captions of a day of speech are 1 MB.
MAX_CAPTION_BYTES = 4 * 1024 * 1024
# ``expires`` is at least 15 s ahead, and the second attempt adds 300 s. So only a larger skew than
# this is reported to the user.
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
    """The kind by which calls are counted. :ivar host: ``api``, or ``cdn`` for the CDN host."""

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

    :param name: the name of the URL in the message.
    :raises SettingsError: the URL is not ``http(s)://host[:port][/prefix]``.
    """
    try:
        parts = urlsplit(url)
        # the parser drops line ends without an error, so check the text before it
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
    """One call before it is signed, and how its answer is read.

    :ivar route: percent-encoded path without the prefix: ``/v2/assets``.
    :ivar read: converts the body to the result; raises `MalformedJson`, a temporary error, or
        `ProtocolViolation`.
    :ivar purpose: for the rate limiter.
    :ivar limit_bytes: limit for the decompressed body; a larger one is a `ProtocolViolation`.
    :ivar queued_before_s: the part of `Deadline.queued_s` that does not count for this call. The
        pages of a listing share a deadline, but the longest wait for credits applies to each page.
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

    Every method raises these errors, in addition to those that it documents itself:

    - :class:`CredentialsRefused` for 401 and 403 (never retried); :class:`ClockSkewed` when this
      machine's clock is the cause;
    - :class:`NoSuchEntry` for 404;
    - :class:`RateLimited` when no credit came within the rate limiter's longest wait;
    - :class:`RemoteUnavailable` when connecting or the server (5xx) kept failing;
    - :class:`DeadlineExceeded` when the time ended first;
    - :class:`ProtocolViolation` for answers that cannot be what was asked for.

    No error, log line or exception chain holds the secret, a signature or a signed URL.

    :ivar heard: set once a call of the API's own host has ended in any way other than
        :class:`CredentialsRefused`: it was answered, or the host cannot be reached.
    :ivar clock_skew_s: the server's clock minus ours, from the ``Date`` of the last answer of the
        API's own host that no cache served; 0.0 until known. It is exact to about a second.
    """

    def __init__(
        self,
        account: Account,
        session: ApiSession,
        clock: Clock,
        *,
        limiter: ApiRateLimiter | None = None,
        retry: RetryPolicy | None = None,
        page_limit: int = 500,
    ) -> None:
        """Send nothing yet. The caller keeps the session and closes it.

        :param limiter: limits the calls of the API's own host; None: make a limiter.
        :param page_limit: the number of assets requested per page. A server may return fewer, and
            after a time-out fewer are requested.
        :raises SettingsError: a URL of the account is not valid.
        :raises ValueError: for a page limit below 1.
        """
        self.clock_skew_s = 0.0
        self.heard = threading.Event()
        self._credentials = Credentials(account.api_key, account.api_secret)
        self._api = parse_base(account.api_url, "API URL")
        self._cdn = parse_base(account.cdn_url, "CDN URL") if account.cdn_url else None
        self._session = session
        self._limits = account.limits
        self._clock = clock
        self._limiter = limiter or ApiRateLimiter(clock)
        self._retry = retry or RetryPolicy()
        self._page_size = PageSize(page_limit, account.limits.answer_s)
        self._breakers = Breakers(clock)
        self._counting = threading.Lock()
        self._calls: Counter[CallKind] = Counter()

    @property
    def has_cdn_host(self) -> bool:
        """Whether there is a CDN host, which answers without a credit."""
        return self._cdn is not None

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
        :param start: the ``next_page`` of an earlier page; continue there, with its filter.
        :raises ProtocolViolation: also when a ``next_page`` comes again.
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
        """Size and a new signed URL of an asset's source file. One attempt: the caller repeats it.

        ``/streams`` is requested first; if it has no source entry, ``/source_file_info``. A source
        with a size and a null URL is returned.

        :param priority: in the rate limiter's queue, where the embed code is the key of the call.
        :param turn: a turn of the rate limiter that was already taken for this call.
        :param fresh: False: request the CDN host, if there is one. This costs no credit, and the
            answer may be 5 minutes old.
        :raises SourceMissing: no route has a source, or the source has neither URL nor size.
        :raises TryAgain: the API answered 429; the next attempt waits for a credit.
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
        """The unchanged caption document of an asset; only its bytes show its kind.

        For an asset without captions the result is empty or empty JSON, or :class:`NoSuchEntry` is
        raised: the API's documentation does not specify the answer.

        :raises ProtocolViolation: the document is larger than :data:`MAX_CAPTION_BYTES`.
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
        """The pages of a route; see `walk` for the parameters."""

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
        """Call the API's own host; repeat the call after temporary errors.

        :param but_not: temporary errors after which the call is not repeated.
        """
        doing = f"GET {request.route} from {self._api.host}"
        backoff = Backoff(self._retry, request.deadline, self._clock, doing)
        return backoff.run(lambda: self._call(request, self._api), but_not=but_not)

    def _call(self, request: _Request[T], base: Base) -> T:
        """Make one call, and a second one if the server says that the new signature is expired.

        :raises ClockSkewed: this machine's clock is the cause; no second call is made.
        """
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
        """Make one call. A call of the API's own host first waits for its turn.

        The deadline does not run during this wait.
        """
        host = base.host
        if base is not self._api:
            self._breakers.check(host)
            return self._exchange(request, base, margin_s=margin_s)
        purpose = request.purpose
        self._breakers.check(host, only_look=True)  # before the wait, which would be in vain
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
            raise TryAgain from None  # the limiter limits the total wait of all attempts

    def _exchange(self, request: _Request[T], base: Base, *, margin_s: int) -> T:
        counts = base is self._api  # towards the account's credits
        expires = round_expires(self._clock.now() + margin_s)
        query = signed_query(
            self._credentials, "GET", request.route, request.params, expires=expires
        )
        try:
            answer = self._session.transport(self._clock, self._limits).get(
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
            # Date has no fraction of a second; half a second is its mean
            self.clock_skew_s = date_s + 0.5 - answer.arrived_at_s


def _route(collection: str, identifier: str, *rest: str) -> str:
    """``/v2/assets/<id>/streams``, percent-encoded.

    :raises NoSuchEntry: the identifier cannot be an id, and could change the path.
    """
    if not is_identifier(identifier):
        raise NoSuchEntry(f"{identifier!r} cannot be an id of the library")
    encoded = quote(identifier, safe="", errors="replace")
    return "/".join((collection, encoded, *rest))
