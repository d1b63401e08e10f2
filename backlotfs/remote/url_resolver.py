"""Signed source URLs: kept while they live, renewed before they die, one renewal at a time.

URLs live in memory, and `kept_urls.SavedUrls` keeps them over a restart where it is given. Their
expiry is a moment on the *server's* wall clock, so it is compared with our wall clock corrected by
the skew that the API's ``Date`` shows; cachetools' `TLRUCache` keeps each for its own time
(TTLCache would know one TTL for all).

A URL names one object. When a source is replaced, hosts may keep the old object where it was: then
the URL in use goes on serving the old version. So whoever has to find out what a source *is* now
asks for a URL that was given after the record was touched (`CurrentUrls`); readers, who check every
answer against the version they opened, go on with the one they have until that has come.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from cachetools import LRUCache, TLRUCache

from backlotfs.api.records import Source
from backlotfs.api.signed_url import SignedUrl
from backlotfs.clock import Clock, Deadline
from backlotfs.errors import DeadlineExceeded, SourceMissing
from backlotfs.remote.kept_urls import SavedUrls
from backlotfs.single_flight import SingleFlight

log = logging.getLogger(__name__)

#: A URL is renewed this long before it expires …
MARGIN_S = 60.0
#: … or, if it lives only minutes or seconds, when this part of its life is left.
MARGIN_SHARE = 0.25
#: A URL without a readable ``Expires`` is trusted this long; its death is noticed by a 403.
UNKNOWN_LIFE_S = 300.0
#: URLs remembered: at 300 bytes each this stays below 20 MB.
URLS_KEPT = 50_000
#: A kept URL counts as older than a change of its record up to this much after that: records have
#: whole seconds, and so has the ``Date`` by which we know the server's clock.
CHANGE_MARGIN_S = 3.0


class SourceLookup(Protocol):
    """What is needed of the API client."""

    @property
    def clock_skew_s(self) -> float:
        """The server's wall clock minus ours, in seconds."""

    def get_source(self, embed_code: str, *, deadline: Deadline) -> Source:
        """The source of an asset, with a newly signed URL."""


class UrlResolver:
    """Embed code to a signed URL with life left in it. Any thread may call it."""

    def __init__(
        self,
        api: SourceLookup,
        clock: Clock,
        *,
        seen: Callable[[str, Source], None] | None = None,
        saved: SavedUrls | None = None,
    ) -> None:
        """Begin with the URLs of earlier mounts, if they were kept.

        :param seen: is told each answer of the API, from the thread that fetched it.
        :param saved: keeps URLs over restarts.
        """
        self._api = api
        self._clock = clock
        self._seen = seen
        self._lock = threading.Lock()
        self._flights: SingleFlight[str, SignedUrl] = SingleFlight()
        self._urls: TLRUCache[str, SignedUrl] = TLRUCache(
            URLS_KEPT, ttu=self._renew_at, timer=clock.now
        )
        self._sizes: LRUCache[str, int | None] = LRUCache(URLS_KEPT)
        self._touched: dict[str, int] = {}
        self._saved = saved
        self._unchecked: dict[str, float] = {}  # of earlier mounts: when the URL was given
        if saved is not None:
            with self._urls.timer:  # one moment for all: ten thousand are taken at once
                for embed_code, (url, file_size, as_of_s) in saved.load().items():
                    self._urls[embed_code] = url
                    self._sizes[embed_code] = file_size
                    self._unchecked[embed_code] = as_of_s
        self.refreshes = 0  # URLs got anew
        self.refused = 0  # URLs that a source host did not take

    def resolve(self, embed_code: str, deadline: Deadline, *, current: bool = False) -> SignedUrl:
        """A URL that does not expire within the margin; asks the API at most once at a time.

        :param current: one that was asked for after the last `touched`.
        :raises SourceMissing: the asset has no source, or a null URL.
        :raises DeadlineExceeded: somebody else's request takes longer than we have.
        :raises BacklotError: what the API client raises.
        """
        while True:
            known = self._usable(embed_code, current=current)
            if known is not None:
                return known
            flight, ours = self._flights.join(embed_code)
            if ours:
                self._flights.fly(
                    embed_code, lambda: self._refresh(embed_code, deadline, current=current)
                )
            try:
                url = flight.result(min(deadline.remaining_s(), threading.TIMEOUT_MAX))
            except TimeoutError:
                raise DeadlineExceeded(f"renewing the URL of {embed_code} takes too long") from None
            if ours or not current:
                return url
            deadline.check(f"renewing the URL of {embed_code}")  # it may have begun too early

    def invalidate(self, embed_code: str, url: SignedUrl) -> None:
        """Forget ``url`` if it is still the one in use: a late failure discards no newer URL."""
        with self._lock:
            if self._urls.get(embed_code) == url:
                self._urls.pop(embed_code, None)  # it may expire while we look
                self.refused += 1
        if self._saved is not None:
            self._saved.drop(embed_code, url)

    def touched(self, embed_code: str) -> None:
        """The record has changed: the URL in use may be of an object that is not its source now."""
        with self._lock:
            self._touched[embed_code] = self._touched.get(embed_code, 0) + 1
            if self._saved is not None:  # under the lock: a URL that comes later is kept again
                self._saved.drop(embed_code)

    def check_saved(self, updated_at_s: Callable[[str], float | None]) -> None:
        """Forget the URLs of earlier mounts that are older than the last change of their records.

        Changes that this mount sees come by `touched`; this is for those that another mount saw, or
        a mount that was killed before it could drop the URL. The second call has nothing to do.

        :param updated_at_s: embed code to the record's ``updated_at``, seconds since the epoch by
            the server's clock; None: there is no such record.
        """
        with self._lock:
            unchecked, self._unchecked = self._unchecked, {}
        for embed_code, as_of_s in unchecked.items():
            changed_s = updated_at_s(embed_code)
            if changed_s is not None and as_of_s < changed_s + CHANGE_MARGIN_S:
                self.forget(embed_code)

    def offer(self, embed_code: str, source: Source, *, max_age_s: float = 0.0) -> None:
        """Take a URL that was got for another purpose, if none is known.

        :param max_age_s: how old the answer may be that it came with.
        """
        if source.url is not None:
            now_s = self._clock.now()
            with self._lock:
                if embed_code not in self._urls:
                    self._urls[embed_code] = source.url
                    self._keep(embed_code, source, asked_at_s=now_s - max_age_s)

    def knows(self, embed_code: str) -> bool:
        """Whether `resolve` of a current URL would answer without asking the API."""
        return self._usable(embed_code, current=True) is not None

    def reported_size(self, embed_code: str) -> int | None:
        """The ``file_size`` that came with the last URL, if one did."""
        with self._lock:
            return self._sizes.get(embed_code)

    def forget(self, embed_code: str) -> None:
        """Forget whatever URL is known, because the asset was replaced or deleted."""
        with self._lock:
            self._urls.pop(embed_code, None)
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

    def _usable(self, embed_code: str, *, current: bool) -> SignedUrl | None:
        with self._lock:
            return None if current and embed_code in self._touched else self._urls.get(embed_code)

    def _refresh(self, embed_code: str, deadline: Deadline, *, current: bool) -> SignedUrl:
        known = self._usable(embed_code, current=current)
        if known is not None:  # renewed between our look and our flight
            return known
        touched = self._touched.get(embed_code)
        asked_at_s = self._clock.now()
        source = self._api.get_source(embed_code, deadline=deadline)
        with self._lock:
            self._sizes[embed_code] = source.file_size
        if self._seen is not None:
            self._seen(embed_code, source)
        if source.url is None:
            raise SourceMissing(f"the API gives no URL for the source of {embed_code}")
        with self._lock:
            self.refreshes += 1
            self._urls[embed_code] = source.url
            if self._touched.get(embed_code) == touched:  # else: touched meanwhile
                self._touched.pop(embed_code, None)
                self._keep(embed_code, source, asked_at_s=asked_at_s)
        log.debug("renewed the URL of %s", embed_code)
        return source.url

    def _renew_at(self, _embed_code: str, url: SignedUrl, now: float) -> float:
        if url.expires_at_s is None:
            return now + UNKNOWN_LIFE_S
        dies_at = url.expires_at_s - self._api.clock_skew_s
        return dies_at - min(MARGIN_S, MARGIN_SHARE * max(0.0, dies_at - now))


class CurrentUrls:
    """The URLs of a resolver for those who must not be given one from before the last touch."""

    def __init__(self, resolver: UrlResolver) -> None:
        self._resolver = resolver

    def resolve(self, embed_code: str, deadline: Deadline) -> SignedUrl:
        """See `UrlResolver.resolve`."""
        return self._resolver.resolve(embed_code, deadline, current=True)

    def invalidate(self, embed_code: str, url: SignedUrl) -> None:
        """See `UrlResolver.invalidate`."""
        self._resolver.invalidate(embed_code, url)
