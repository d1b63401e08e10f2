"""The library's listing, kept fresh: the last good one stays whatever a refresh meets."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Protocol

from backlotfs.api.records import Asset, AssetPage
from backlotfs.catalog.library import AssetFilter, Library
from backlotfs.catalog.source_book import SourceBook
from backlotfs.clock import Clock, Deadline
from backlotfs.errors import BacklotError
from backlotfs.workers import Workers

log = logging.getLogger(__name__)

#: One listing of the whole library may take this long: 200 000 assets at 300 calls a minute.
WALK_DEADLINE_S = 600.0


class Listing(Protocol):
    """What is needed of the API client."""

    def iter_pages(self, *, deadline: Deadline) -> Iterator[AssetPage]:
        """The whole library, page by page."""


class Catalog:
    """Any thread may call it; `library` never waits."""

    def __init__(
        self,
        api: Listing,
        book: SourceBook,
        workers: Workers,
        clock: Clock,
        *,
        ttl_s: float,
        admit: AssetFilter,
    ) -> None:
        """``ttl_s``: a listing older than this is refreshed when somebody uses the mount."""
        self._api = api
        self._book = book
        self._workers = workers
        self._clock = clock
        self._ttl_s = ttl_s
        self._admit = admit
        self._lock = threading.Lock()
        self._refreshing = False
        self._library = Library(0, MappingProxyType({}))
        self._synced_at = 0.0

    @property
    def library(self) -> Library:
        """The last good listing."""
        return self._library

    def updated_at(self, embed_code: str) -> int:
        """``updated_at`` of a record, seconds since the epoch; 0 if there is none."""
        asset = self._library.assets.get(embed_code)
        return asset.updated_at_s if asset is not None else 0

    def load(self, deadline: Deadline, progress: Callable[[], None] = lambda: None) -> None:
        """The first listing; ``progress`` is called with each page.

        :raises BacklotError: it cannot be had.
        """
        assets: dict[str, Asset] = {}
        for page in self._api.iter_pages(deadline=deadline):
            progress()
            for reason in page.skipped:
                log.warning("a record of the library is left out: %s", reason)
            assets.update(
                (asset.embed_code, asset) for asset in page.assets if self._admit.admits(asset)
            )
        self._publish(assets)

    def used(self) -> None:
        """Somebody uses the mount: refresh in the background if the TTL has passed."""
        if self._clock.monotonic() - self._synced_at >= self._ttl_s:
            self.refresh()

    def refresh(self) -> None:
        """Start a refresh in the background, unless one is running."""
        with self._lock:
            if self._refreshing:
                return
            self._refreshing = True
        self._workers.submit(self._refresh)

    def _refresh(self) -> None:
        try:
            self.load(Deadline(WALK_DEADLINE_S, self._clock))
        except BacklotError as error:
            # Also a failure counts as a look: the next one is due after another TTL, not at once.
            self._synced_at = self._clock.monotonic()
            log.warning("the library could not be refreshed, its last listing stays: %s", error)
        finally:
            with self._lock:
                self._refreshing = False

    def _publish(self, assets: dict[str, Asset]) -> None:
        before = self._library
        if dict(before.assets) != assets:
            self._library = Library(before.version + 1, MappingProxyType(assets))
        self._synced_at = self._clock.monotonic()
        for code, old in before.assets.items():
            new = assets.get(code)
            if new is None:
                self._book.forget(code)
            elif new.updated_at_s != old.updated_at_s:
                self._book.doubt(code)
        log.info("the library has %d assets", len(assets))
