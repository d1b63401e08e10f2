"""One ranged GET on an asset's source, whatever its signature and its host go through.

Theory of operation. A URL is resolved, sent, and the head of the answer is judged:

========================  ==========================================================
206, 416                  returned; the caller validates them
403 "expired"             the URL is invalidated and resolved anew, `MAX_EXPIRED` times at most
400 "expired"             the same: S3 says so of a session's token
403 other, 401            resolved anew once, then `SourceDenied`; `RemoteUnavailable` where the
                          body, which says why, does not come
404, 410                  resolved anew once, then `SourceGone`
412                       `ContentChanged`
408, 425, 429, 5xx        tried again after a backoff, while attempts and deadline last; not
                          before ``Retry-After``, and not at all if that is after the deadline
connection trouble        the same; a host without any connection rests (`http.circuit_breaker`)
no place at the host      `HostBusy`, at once: the caller tries again later (`source.host_shares`)
3xx                       followed where `RedirectChain` lets us, else `SourceRefused`
a refused address         `SourceRefused`, at once: no other attempt would be let through
anything else             `InvalidRangeResponse`: a 200 is never taken for a 206
========================  ==========================================================

A URL can die in a queue (lifetimes of seconds exist), so "expired" is normal and cheap; it counts
apart from failures. Nothing here looks at a body, except the small XML of an error.
"""

from __future__ import annotations

import logging
import random
from typing import Protocol

from backlotfs.api.rate_limiter import http_date_s, retry_after_header_s
from backlotfs.api.records import SignedUrl
from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.errors import (
    BacklotError,
    CircuitOpen,
    ContentChanged,
    DeadlineExceeded,
    InvalidRangeResponse,
    RemoteUnavailable,
    SourceDenied,
    SourceGone,
)
from backlotfs.http.address_policy import SourcePolicy, plain_host
from backlotfs.http.backoff import RetryPolicy
from backlotfs.http.exchange_deadline import Exchange
from backlotfs.http.pool import ConnectionPool, RangeAnswer, origin_of, small_body
from backlotfs.http.range_checks import ERROR_BODY_BYTES, S3Error, parse_s3_error
from backlotfs.source.host_shares import HostShares, Place
from backlotfs.source.redirects import RedirectChain
from backlotfs.source.timed_get import (
    OVERLOADED_STATUSES,
    GetMeter,
    NoMeter,
    Outcome,
    TimedGet,
    TimedResponse,
)

log = logging.getLogger(__name__)

#: Expired answers in a row before giving up: then the clocks or the server are broken.
MAX_EXPIRED = 5

_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Resolver(Protocol):
    """What is needed of the URL resolver."""

    def resolve(self, embed_code: str, deadline: Deadline) -> SignedUrl:
        """A signed URL with life left in it."""

    def invalidate(self, embed_code: str, url: SignedUrl) -> None:
        """Do not hand out this URL again."""


class SignedGet:
    """Opens ranged GETs on sources by embed code. Any thread may call it."""

    def __init__(
        self,
        resolver: Resolver,
        pool: ConnectionPool,
        clock: Clock,
        retry: RetryPolicy,
        *,
        policy: SourcePolicy | None = None,
        meter: GetMeter | None = None,
        shares: HostShares | None = None,
    ) -> None:
        """Put the parts together.

        :param policy: says which other hosts may serve sources by redirects; None: none.
        :param meter: is told of every GET.
        :param shares: bounds how many of its GETs a host may have under way; None: nothing does.
        """
        self._shares = shares
        self._meter = meter or NoMeter()
        self._resolver = resolver
        self._policy = policy or SourcePolicy("")
        self._pool = pool
        self._clock = clock
        self._retry = retry

    def open(
        self,
        embed_code: str,
        wanted: ByteRange,
        deadline: Deadline,
        *,
        if_match: str | None = None,
    ) -> TimedResponse:
        """The open answer of a GET of ``wanted``: status 206 or 416, body unread.

        :raises SourceMissing, SourceDenied, SourceGone, SourceRefused, ContentChanged: see the
            table above.
        :raises RemoteUnavailable: retries spent. :raises DeadlineExceeded: time spent.
        :raises HostBusy: the host has as many of our GETs as it may have, and answers none.
        """
        attempt = _Attempt(self, embed_code, wanted, deadline, if_match)
        while True:
            answer = attempt.once()
            if answer is not None:
                return answer

    def pause(
        self,
        attempt: int,
        deadline: Deadline,
        error: BacklotError,
        *,
        asked_s: float = 0.0,
        rest_s: float = 0.0,
    ) -> None:
        """Sleep the backoff before attempt ``attempt + 1``.

        :param asked_s: what the host asks for: at least so long.
        :param rest_s: what we grant a host that cannot be reached: at least so long, too.
        :raises DeadlineExceeded: at once, when the host asks for more than is left.
        :raises BacklotError: ``error`` itself, when no attempt or no time is left.
        """
        if asked_s > 0 and asked_s >= deadline.remaining_s():
            raise DeadlineExceeded(f"{error}, and asks for a pause of {asked_s:.0f} s")
        if attempt >= self._retry.max_attempts:
            raise error
        delay = max(asked_s, rest_s, self._retry.delay_s(attempt, random.random()))
        if delay >= deadline.remaining_s():
            raise error
        self._clock.sleep(delay)


class _Attempt:
    """The state of one GET over its refreshes, redirects and retries; one thread's."""

    def __init__(
        self,
        owner: SignedGet,
        embed_code: str,
        wanted: ByteRange,
        deadline: Deadline,
        if_match: str | None,
    ) -> None:
        self._owner = owner
        self._embed_code = embed_code
        self._wanted = wanted
        self._deadline = deadline
        self._if_match = if_match
        self._failures = 0
        self._expired = 0
        self._refused = 0
        self._redirects: RedirectChain | None = None
        self._place: Place | None = None

    def once(self) -> TimedResponse | None:
        """Ask once; None means: ask again."""
        self._deadline.check(f"reading the source of {self._embed_code}")
        url = self._owner._resolver.resolve(self._embed_code, self._deadline)
        target = self._redirects.url if self._redirects is not None else url.url
        self._place = self._take_place(target)
        opened = None
        try:
            opened = self._ask(target, url)
        finally:
            if opened is None:
                self._leave()
        return opened

    def _take_place(self, target: str) -> Place | None:
        """:raises HostBusy: there is none. :raises ProtocolViolation: see `origin_of`."""
        if self._owner._shares is None:
            return None
        origin = origin_of(target)
        host = f"{plain_host(origin.host)}:{origin.port}"
        return self._owner._shares.take(host, self._deadline.remaining_s())

    def _leave(self) -> None:
        if self._place is not None:
            self._place.end()

    def _ask(self, target: str, url: SignedUrl) -> TimedResponse | None:
        get = TimedGet(self._owner._meter, self._owner._clock, self._embed_code)
        exchange = Exchange(self._deadline.remaining_s())
        if self._place is not None:
            self._place.exchange = exchange
        try:
            answer = self._owner._pool.get(
                target, self._wanted, if_match=self._if_match, exchange=exchange
            )
        except CircuitOpen as error:
            get.ended(Outcome.DROPPED)  # nothing was sent
            self._again_after(error, rest_s=error.retry_after_s)
            return None
        except RemoteUnavailable as error:
            get.ended(Outcome.CUT)
            self._again_after(error)
            return None
        except BacklotError:
            get.ended(Outcome.REFUSED)
            raise
        get.answered(answer.host, new_connection=answer.new_connection)
        if self._place is not None:
            self._place.answered()
        if answer.status in (206, 416):
            return TimedResponse(answer, get, self._leave)
        overloaded = answer.status in OVERLOADED_STATUSES
        get.ended(Outcome.OVERLOADED if overloaded else Outcome.REFUSED)
        with answer:
            self._judge(answer, url)
        return None

    def _judge(self, answer: RangeAnswer, url: SignedUrl) -> None:
        """Return to ask again, or raise."""
        status = answer.status
        if status in _REDIRECTS:
            if self._redirects is None:
                self._redirects = RedirectChain(url.url, self._owner._policy)
            self._redirects.follow(answer.headers.get("location", ""))
            return
        self._redirects = None
        if status == 412:
            raise ContentChanged(f"the source of {self._embed_code} was replaced (412)")
        if status in (401, 403):
            self._refused_by(answer, url)
        elif status in (404, 410):
            self._owner._resolver.invalidate(self._embed_code, url)
            self._refused += 1
            if self._refused > 1:
                raise SourceGone(f"the source of {self._embed_code} is gone ({status})")
        elif status in _RETRIED:
            small_body(answer, ERROR_BODY_BYTES)
            self._again_after(
                RemoteUnavailable(
                    f"source host {answer.host} answers {status} for {self._embed_code}",
                    status=status,
                ),
                asked_s=self._asked_s(answer),
            )
        elif (
            status == 400
            and (error := parse_s3_error(small_body(answer, ERROR_BODY_BYTES))).expired
        ):
            self._refused_with(error, url)
        else:
            raise InvalidRangeResponse(
                f"source host {answer.host} answers {status} to a ranged GET of {self._embed_code}"
            )

    def _asked_s(self, answer: RangeAnswer) -> float:
        """The pause that the host asks for, by its own clock; 0.0 when it asks for none."""
        date_s = http_date_s(answer.headers.get("date"))
        here_s = self._owner._clock.now() if date_s is None else date_s
        asked_s = retry_after_header_s(answer.headers.get("retry-after"), here_s)
        return max(0.0, asked_s or 0.0)

    def _refused_by(self, answer: RangeAnswer, url: SignedUrl) -> None:
        cut: RemoteUnavailable | None = None
        try:
            error = parse_s3_error(answer.read(ERROR_BODY_BYTES))
        except RemoteUnavailable as failure:
            cut, error = failure, parse_s3_error(b"")
        self._refused_with(error, url)
        if self._refused > 1:
            # a denial is believed for a minute: not that of a host which fails to say why
            raise cut or SourceDenied(
                f"the source of {self._embed_code} is refused: {error.code or answer.status}"
            )

    def _refused_with(self, error: S3Error, url: SignedUrl) -> None:
        self._owner._resolver.invalidate(self._embed_code, url)
        if error.expired:
            self._expired += 1
            if self._expired > MAX_EXPIRED:
                raise DeadlineExceeded(
                    f"every new URL of {self._embed_code} is expired on arrival: "
                    "is this machine's clock right?"
                )
        else:
            self._refused += 1

    def _again_after(
        self, error: RemoteUnavailable, *, asked_s: float = 0.0, rest_s: float = 0.0
    ) -> None:
        self._leave()  # a pause takes no place
        self._failures += 1
        self._redirects = None
        log.debug("attempt %d on %s failed: %s", self._failures, self._embed_code, error)
        self._owner.pause(self._failures, self._deadline, error, asked_s=asked_s, rest_s=rest_s)
