# SPDX-License-Identifier: Apache-2.0
"""Presigned source URLs: kept until they expire, renewed before that, one renewal at a time.

URLs are kept in memory, and over a restart by `saved_urls.SavedUrls`, if it is given. A URL expires
at a time of the *server's* wall clock. So that is compared with our wall clock, corrected by the
skew that the API's ``Date`` shows. cachetools' `TLRUCache` keeps each URL for its own time
(`TTLCache` has one TTL for all).

A new URL costs a credit of the account, unless a CDN host can give it. The answers of a CDN host
may be five minutes old, so it is not asked about records that were touched since. A renewal waits
in the rate limiter's queue. The deadlines of all who wait for it do not run meanwhile.

A URL names one object. When a source is replaced, a host may keep the old object at its place, so
the URL in use still serves the old version. Therefore a probe, which finds the present version,
asks for a URL that was given after the record was touched (``current``). Readers check each answer
against their version, so they use the old URL until the new one arrives.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from cachetools import LRUCache, TLRUCache, TTLCache

from backlotfs.api.client import ApiClient
from backlotfs.api.rate_limiter import ApiRateLimiter, Priority, Turn
from backlotfs.api.records import SignedUrl, Source
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.concurrency.interruptible_wait import POLL_S
from backlotfs.concurrency.single_flight import SingleFlight
from backlotfs.config.time_limits import CDN_PATIENCE_S
from backlotfs.errors import (
    BacklotError,
    DeadlineExceeded,
    RateLimited,
    RemoteUnavailable,
    SourceMissing,
)
from backlotfs.source.saved_urls import SavedUrls

log = logging.getLogger(__name__)

#: A URL is renewed this long before it expires …
MARGIN_S = 60.0
#: … or, if it is valid for minutes or seconds only, when this part of that time is left.
MARGIN_SHARE = 0.25
#: A URL without a readable ``Expires`` is used this long; a 403 shows that it has expired.
UNKNOWN_LIFETIME_S = 300.0
#: URLs remembered: at 300 bytes each this stays below 20 MB.
URLS_KEPT = 50_000
#: How old an answer of the CDN host may be, with some room for times in whole seconds.
CDN_MAX_AGE_S = 330.0
#: A CDN host that cannot be reached, or answers too late, is not asked for this long, because each
#: URL would wait for it first.
CDN_PAUSE_S = 60.0
#: A file counts as being read for this long after a reader asked for its URL.
READ_LATELY_S = 120.0
#: A kept URL counts as older than a change of its record if it was asked for less than this after
#: the change: the times of records, and of the server's ``Date``, are whole seconds.
CHANGE_MARGIN_S = 3.0


class UrlResolver:
    """Finds a presigned URL that has not expired, by embed code. Any thread may call it."""

    def __init__(
        self,
        api: ApiClient,
        limiter: ApiRateLimiter,
        clock: Clock,
        *,
        updated_at_s: Callable[[str], float | None] = lambda _code: None,
        saved: SavedUrls | None = None,
    ) -> None:
        """Begin with the URLs of earlier mounts, if they were kept.

        :param limiter: paces the calls of ``api``.
        :param updated_at_s: embed code to the ``updated_at`` of its presented record, seconds since
            the epoch by the server's clock; None: no such record is presented. It must not wait.
        :param saved: keeps URLs over restarts.
        """
        self._api = api
        self._limiter = limiter
        self._clock = clock
        self._updated_at_s = updated_at_s
        self._lock = threading.Lock()
        self._flights: SingleFlight[str, SignedUrl] = SingleFlight()
        self._urls: TLRUCache[str, SignedUrl] = TLRUCache(
            URLS_KEPT, ttu=self._renew_at, timer=clock.now
        )
        self._sizes: LRUCache[str, int | None] = LRUCache(URLS_KEPT)
        self._read_at_s: LRUCache[str, float] = LRUCache(URLS_KEPT)  # monotonic
        self._refused_urls: LRUCache[str, SignedUrl] = LRUCache(URLS_KEPT)
        self._no_cdn: TTLCache[str, bool] = TTLCache(
            URLS_KEPT, CDN_MAX_AGE_S, timer=clock.monotonic
        )
        self._no_cdn_until_s = 0.0  # monotonic
        self._touched: dict[str, int] = {}
        self._saved = saved
        self._unchecked: dict[str, float] = {}  # URLs of earlier mounts: when each was given
        if saved is not None:
            with self._urls.timer:  # one time for all: ten thousand are added at once
                for embed_code, (url, file_size, as_of_s) in saved.load().items():
                    self._urls[embed_code] = url
                    self._sizes[embed_code] = file_size
                    self._unchecked[embed_code] = as_of_s
        self.refreshes = 0  # new URLs, from the API or its CDN host
        self.refused = 0  # URLs that a source host did not take

    def resolve(
        self,
        embed_code: str,
        deadline: Deadline,
        *,
        current: bool = False,
        priority: Priority | None = None,
        turn: Turn | None = None,
    ) -> SignedUrl:
        """A URL that does not expire within the margin; asks the API at most once at a time.

        It makes one attempt. The caller retries temporary errors.

        :param deadline: does not run while the renewal waits for a credit.
        :param current: one that was asked for after the last `invalidate_on_change`.
        :param priority: of the API call; None: a reader's.
        :param turn: a turn of the rate limiter that was taken for this already.
        :raises SourceMissing: the asset has no source, or a null URL.
        :raises DeadlineExceeded: the request of another caller takes longer than our deadline.
        :raises TryAgain, BacklotError: what the API client raises.
        """
        if priority is None:
            now_s = self._clock.monotonic()
            with self._lock:
                read_at_s = self._read_at_s.get(embed_code)
                self._read_at_s[embed_code] = now_s
            read_lately = read_at_s is not None and now_s - read_at_s < READ_LATELY_S
            asked = Priority.RENEWAL if read_lately else Priority.WAITING
        else:
            asked = priority
        while (known := self._usable(embed_code, current=current)) is None:
            flight, ours = self._flights.join(embed_code)
            if ours:
                self._flights.fly(
                    embed_code,
                    lambda: (
                        self._usable(embed_code, current=current)  # renewed since our look
                        or self._renew(embed_code, deadline, asked, turn)
                    ),
                )
            else:
                self._limiter.raise_priority(embed_code, asked)
            try:
                url = self._result(flight, embed_code, deadline)
            except DeadlineExceeded:
                if ours or deadline.expired:
                    raise
                continue  # the deadline of the caller that had asked has passed, not ours
            if ours or not current:
                return url
            # the flight may have begun before the change
            deadline.check(f"renewal of the URL of {embed_code}")
        return known

    def is_free(self, embed_code: str) -> bool:
        """Whether a current URL needs no credit: it is known, or the CDN host can give it."""
        if not self._limiter.counts_credits:
            return True
        return self.has_fresh(embed_code) or self._cdn_can_tell(embed_code)

    def invalidate(self, embed_code: str, url: SignedUrl) -> None:
        """Forget ``url``, unless a newer one has replaced it."""
        with self._lock:
            self._refused_urls[embed_code] = url
            if self._urls.get(embed_code) == url:
                self._urls.pop(embed_code, None)  # it may expire while we look
                self.refused += 1
        if self._saved is not None:
            self._saved.drop(embed_code, url)

    def invalidate_on_change(self, embed_code: str) -> None:
        """Note that the record has changed: the URL in use may be that of the replaced object.

        Call it before the changed record is presented.
        """
        self._check_saved(embed_code)
        with self._lock:
            self._touched[embed_code] = self._touched.get(embed_code, 0) + 1
            if self._saved is not None:  # under the lock, so that a later URL is kept
                self._saved.drop(embed_code)

    def put_if_absent(self, embed_code: str, source: Source) -> None:
        """Add a URL that came with another answer, if none is known."""
        if source.url is not None:
            self._check_saved(embed_code)
            now_s = self._clock.now()
            with self._lock:
                if embed_code not in self._urls:
                    self._urls[embed_code] = source.url
                    self._unchecked.pop(embed_code, None)
                    self._keep(embed_code, source, asked_at_s=now_s)

    def has_fresh(self, embed_code: str) -> bool:
        """Whether `resolve` of a current URL would answer without asking the API."""
        return self._usable(embed_code, current=True) is not None

    def reported_size(self, embed_code: str) -> int | None:
        """The ``file_size`` that came with the last URL, if one did."""
        with self._lock:
            return self._sizes.get(embed_code)

    def forget(self, embed_code: str) -> None:
        """Forget whatever URL is known, because the asset was replaced or deleted."""
        with self._lock:
            self._forget(embed_code)

    def _forget(self, embed_code: str) -> None:
        """See `forget`. Call with the lock held."""
        self._urls.pop(embed_code, None)
        self._unchecked.pop(embed_code, None)
        if self._saved is not None:
            self._saved.drop(embed_code)

    def _keep(self, embed_code: str, source: Source, *, asked_at_s: float) -> None:
        """Keep a URL over a restart. Call with the lock held."""
        if self._saved is not None and source.url is not None:
            self._saved.put(
                embed_code,
                source.url,
                file_size=source.file_size,
                as_of_s=asked_at_s + self._api.clock_skew_s,
                asked_at_s=asked_at_s,
            )

    def _check_saved(self, embed_code: str) -> None:
        """Forget the URL of an earlier mount if it is older than the last change of its record.

        `invalidate_on_change` handles the changes that this mount sees. This handles those that
        another mount saw, perhaps one that was killed before it dropped the URL. A URL is checked
        once: before its first use after its record was presented.
        """
        if embed_code not in self._unchecked:
            return
        changed_s = self._updated_at_s(embed_code)
        if changed_s is None:
            return
        with self._lock:
            as_of_s = self._unchecked.pop(embed_code, None)  # None: checked or renewed meanwhile
            if as_of_s is not None and as_of_s < changed_s + CHANGE_MARGIN_S:
                self._forget(embed_code)

    def _usable(self, embed_code: str, *, current: bool) -> SignedUrl | None:
        self._check_saved(embed_code)
        with self._lock:
            return None if current and embed_code in self._touched else self._urls.get(embed_code)

    def _result(self, flight: Future[SignedUrl], embed_code: str, deadline: Deadline) -> SignedUrl:
        """Wait for the URL of a flight; the deadline does not run while that waits for a credit."""
        while True:
            queued, before_s = self._limiter.is_queued(embed_code), self._clock.monotonic()
            try:
                return flight.result(POLL_S if queued else min(deadline.remaining_s(), 1.0))
            except TimeoutError:
                if flight.done():  # it has ended meanwhile, or failed with a TimeoutError
                    return flight.result()
            if queued:
                deadline.add_queued(self._clock.monotonic() - before_s)
                if deadline.queued_s >= self._limiter.credit_wait_s:
                    raise RateLimited(
                        f"no API credit came within {self._limiter.credit_wait_s:.0f} s",
                        retry_after_s=None,
                    ) from None
            elif deadline.expired:
                raise DeadlineExceeded(f"renewing the URL of {embed_code} takes too long") from None

    def _renew(
        self, embed_code: str, deadline: Deadline, priority: Priority, turn: Turn | None
    ) -> SignedUrl:
        touched = self._touched.get(embed_code)
        asked_at_s = self._clock.now() - CDN_MAX_AGE_S
        source = self._from_cdn(embed_code, deadline)
        if source is None:
            asked_at_s = self._clock.now()
            source = self._api.get_source(
                embed_code, deadline=deadline, priority=priority, turn=turn
            )
        with self._lock:
            self._sizes[embed_code] = source.file_size
        if source.url is None:
            raise SourceMissing(f"the API gives no URL for the source of {embed_code}")
        with self._lock:
            self.refreshes += 1
            self._urls[embed_code] = source.url
            self._unchecked.pop(embed_code, None)
            if self._touched.get(embed_code) == touched:  # else: touched meanwhile
                self._touched.pop(embed_code, None)
                self._keep(embed_code, source, asked_at_s=asked_at_s)
        log.debug("renewed the URL of %s", embed_code)
        return source.url

    def _cdn_can_tell(self, embed_code: str) -> bool:
        """Whether no answer of the CDN host can be older than the record's last touch."""
        updated_at_s = self._updated_at_s(embed_code) if self._api.has_cdn_host else None
        if updated_at_s is None or embed_code in self._no_cdn:
            return False
        if self._clock.monotonic() < self._no_cdn_until_s:
            return False
        return self._clock.now() + self._api.clock_skew_s - updated_at_s > CDN_MAX_AGE_S

    def _from_cdn(self, embed_code: str, deadline: Deadline) -> Source | None:
        """The source by the CDN host, which costs no credit; None: ask the API's own host.

        A cached answer may have a URL that has expired, or that a source host has refused already.
        """
        if not self._cdn_can_tell(embed_code):
            return None
        patience = deadline.lasting(min(CDN_PATIENCE_S, deadline.remaining_s() / 2))
        try:
            source: Source | None = self._api.get_source(
                embed_code, deadline=patience, priority=Priority.WAITING, fresh=False
            )
        except BacklotError as error:
            log.debug("the CDN host does not tell of %s: %s", embed_code, error)
            source = None
            if isinstance(error, RemoteUnavailable | DeadlineExceeded):
                self._no_cdn_until_s = self._clock.monotonic() + CDN_PAUSE_S
        url = None if source is None else source.url
        with self._lock:
            refused = self._refused_urls.get(embed_code)
        if url is None or url == refused or self._is_expired(url):
            with self._lock:
                self._no_cdn[embed_code] = True
            return None
        return source

    def _is_expired(self, url: SignedUrl) -> bool:
        """Whether it has expired, by the server's clock."""
        expires_at_s = url.expires_at_s
        if expires_at_s is None:
            return False
        return expires_at_s - self._api.clock_skew_s <= self._clock.now()

    def _renew_at(self, _embed_code: str, url: SignedUrl, now: float) -> float:
        if url.expires_at_s is None:
            return now + UNKNOWN_LIFETIME_S
        expires_at_s = url.expires_at_s - self._api.clock_skew_s
        return expires_at_s - min(MARGIN_S, MARGIN_SHARE * max(0.0, expires_at_s - now))
