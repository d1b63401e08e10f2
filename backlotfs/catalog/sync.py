# SPDX-License-Identifier: Apache-2.0
"""Full and incremental syncs copy the library's listing from the API to the database.

Theory of operation. The *full sync* (pages of 500) is authoritative. Its pages are staged together
with the cursor, so that an interrupted full sync can continue, and the library changes in one step
when it is complete. Between full syncs, *incremental* syncs request the assets that were updated
after the newest ``updated_at`` seen, and recent deletions: two calls for a library of any size. The
requested time overlaps with the last sync, because bulk edits share a second and pages are cached.
The requested time comes from the server's records, but is never later than this machine's time
(`SyncState.high_water_s`). This machine's clock also decides whether the overlap is still needed
(`SETTLED_AFTER_S`) and when a full sync is due. A server that ignores ``where`` (the Video Cloud
adapter did) returns an asset that is older than requested; from then on it gets only full syncs,
less often for a larger library. One mount of a library syncs at a time (a lease).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from backlotfs.api.client import ApiClient
from backlotfs.api.paging import IN_MEMORY, EndlessListing, ListingLimits, ListingMeter
from backlotfs.api.records import Asset, DeletedAsset, Page, Source
from backlotfs.catalog.db import state
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.leases import Lease
from backlotfs.catalog.db.rows import FullSyncTaken, SyncResult, SyncState
from backlotfs.catalog.db.sync import FullSync, apply
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.errors import NoSuchEntry, ProtocolViolation
from backlotfs.log import events

log = logging.getLogger(__name__)

P = TypeVar("P", Page[Asset], Page[DeletedAsset])

#: A full sync is due this long after the last one.
FULL_SYNC_S = 24 * 3600.0
#: Overlap of incremental syncs: bulk edits share a second, and answers are cached.
OVERLAP_S = 120
#: The overlap is not needed if the newest update is older than the sum of the overlap and of five
#: minutes, the age of cached answers.
SETTLED_AFTER_S = OVERLAP_S + 300
#: If a server ignores ``where``, the time between full syncs is this long for each page of the
#: listing. So full syncs use about a tenth of the credits.
PAGE_COST_S = 2.0
#: The lease on syncing: its name, and its duration; renewed with each page.
SYNC_LEASE = "sync"
SYNC_LEASE_S = 120.0
#: Fields included in each record: labels for folders, metadata for sidecars, and on servers that
#: allow it the source, which otherwise costs one call per asset.
_INCLUDED, _WITH_SOURCES = "labels,metadata", "labels,metadata,streams"
#: Number of skipped records that one sync names in the log; it counts the others.
MAX_NAMED = 20


class _TooMuchChanged(Exception):
    """More assets changed than fit in memory; a full sync, which uses the disk, is needed."""


class Synced(StrEnum):
    """How a sync ended."""

    FULL = "full"
    INCREMENTAL = "incremental"
    ELSEWHERE = "another mount of this library does it"


class Synchronizer:
    """Runs one sync at a time on the calling thread.

    :ivar with_labels: whether labels are fetched, because a layout or a rule needs them.
    """

    def __init__(
        self,
        api: ApiClient,
        db: CatalogDb,
        clock: Clock,
        *,
        with_labels: bool,
        limits: ListingLimits = ListingLimits(),  # noqa: B008  # immutable
        progress: Callable[[int], None] = lambda _assets: None,
        on_source: Callable[[str, Source], None] = lambda _code, _source: None,
    ) -> None:
        """Send nothing yet.

        The fields in `_INCLUDED` are requested also without ``with_labels``, because they cost no
        call and another mount of this library may need them.

        :param limits: a longer listing fails.
        :param on_source: called with each source in a listing.
        :param progress: called after each page of a full sync, with the number of assets that this
            run has listed.
        """
        self._api = api
        self._db = db
        self._full_sync = FullSync(db)
        self._lease = Lease(db, SYNC_LEASE, SYNC_LEASE_S)
        self._clock = clock
        self.with_labels = with_labels
        self._limits = limits
        self._named = self._unnamed = 0  # records left out in this sync
        self._on_source = on_source
        self._progress = progress

    def run(self, deadline: Deadline, *, full: bool = False) -> Synced:
        """Bring the catalog up to date.

        :param full: list the whole library even if an incremental sync would do.
        :raises BacklotError: the sync failed; the stored library is unchanged, and an interrupted
            full sync continues from its cursor the next time.
        """
        if not self._lease.take():
            return Synced.ELSEWHERE
        self._named = self._unnamed = 0
        try:
            if not full and not self._full_sync_due():
                try:
                    if self._incremental(deadline):
                        return Synced.INCREMENTAL
                    events.WHERE_IGNORED.log(log)
                    self._db.write(
                        state.mark_synced, self._clock.now(), full=False, where_works=False
                    )
                except _TooMuchChanged as error:
                    log.debug("%s: the whole library is listed instead", error)
            if self._run_full_sync(deadline):
                self._incremental(deadline)  # changes since the interrupted full sync began
        except FullSyncTaken as error:  # another process has taken over; its listing is shown
            log.debug("%s", error)
            return Synced.ELSEWHERE
        except (NoSuchEntry, ProtocolViolation):
            if self._state().lists_sources:  # the request for sources may be the cause
                self._db.write(state.mark_lists_sources, False)
            raise
        finally:
            self._lease.release()
            if self._unnamed:
                events.RECORDS_SKIPPED.log(log, count=self._unnamed)
        return Synced.FULL

    def _full_sync_due(self) -> bool:
        known = self._state()
        if not known.full_sync_at_s or self._full_sync.cursor() is not None:
            return True
        age_s = self._clock.now() - known.full_sync_at_s
        return not 0 <= age_s < FULL_SYNC_S or known.where_works == 0

    def full_sync_interval_s(self) -> float:
        """The interval of full syncs on a server that ignores ``where``; else 0."""
        if self._state().where_works != 0:
            return 0.0
        _, _, total = self._db.read(state.sized_counts)
        return total / 500 * PAGE_COST_S

    def _run_full_sync(self, deadline: Deadline) -> bool:
        """List the whole library; return whether this continued an interrupted full sync."""
        cursor = self._full_sync.cursor()
        start = cursor.next_page if cursor is not None else None
        if start is not None:
            events.LISTING_RESUMED.log(log)
        elif cursor is not None:  # only the last step was missing
            self._finish_full_sync(deadline)
            return True
        assets = 0
        staged, staged_bytes = self._full_sync.staged()
        meter = ListingMeter("assets", self._limits, records=staged, size_bytes=staged_bytes)
        pages = self._api.iter_pages(deadline=deadline, include=self._included(), start=start)
        try:
            for page in self._leased(pages):
                self._tell_skipped(page)
                if start is not None and not assets and not page.items:
                    break
                assets += len(page.items)
                new = self._full_sync.add(page.items, page.next_page)
                meter.page(records=len(page.items), new=new, size_bytes=page.size_bytes)
                self._tell_sources(page)
                self._progress(assets)
        except EndlessListing:
            self._full_sync.abandon()
            raise
        except ProtocolViolation:
            if start is None or assets:
                raise
        if start is not None and not assets:
            # An expired cursor gives an empty or malformed page, so the staged pages may not be
            # the whole library.
            events.LISTING_RESTARTED.log(log)
            self._full_sync.abandon()
            return self._run_full_sync(deadline)
        self._finish_full_sync(deadline)
        return start is not None

    def _finish_full_sync(self, deadline: Deadline) -> None:
        result = self._full_sync.finish(doubt_empty=True)
        self._update_labels(deadline)
        self._mark_synced(full=True)
        _tell(events.LISTED, result)

    def _incremental(self, deadline: Deadline) -> bool:
        """Sync the changes; return False if the server ignores ``where``."""
        known = self._state()
        # After that time, new records can only have the same second as the newest one. Without
        # this, every sync would list a bulk edit again until a newer record comes.
        settled = known.synced_at_s > known.high_water_s + SETTLED_AFTER_S
        since = max(0, known.high_water_s - (1 if settled else OVERLAP_S))
        moment = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        changed: list[Asset] = []
        meter = ListingMeter("changes", IN_MEMORY)
        pages = self._api.iter_pages(
            deadline=deadline,
            where=f"updated_at>'{moment}'",
            include=self._included(),
        )
        for page in self._leased(pages):
            self._tell_skipped(page)
            if any(0 < asset.updated_at_s < since for asset in page.items):
                return False
            try:
                codes = [asset.embed_code for asset in page.items]
                parts = sum(asset.parts for asset in page.items)
                meter.page_in_memory(codes, size_bytes=page.size_bytes, parts=parts)
            except EndlessListing as error:
                raise _TooMuchChanged(str(error)) from None
            self._tell_sources(page)
            changed += page.items
        deleted = self._deleted_since(known.deleted_seen_s - OVERLAP_S, deadline)
        result = self._db.write(apply, changed, deleted, synced_at_s=self._clock.now())
        if changed or not self._db.read(state.labels):
            self._update_labels(deadline)
        self._db.write(
            state.mark_synced, self._clock.now(), full=False, where_works=True if changed else None
        )
        news = result.added or result.changed or result.removed
        _tell(events.REFRESHED, result, at=None if news else logging.DEBUG)
        return True

    def _deleted_since(self, since_s: int, deadline: Deadline) -> list[DeletedAsset]:
        found: list[DeletedAsset] = []
        meter = ListingMeter("deletions", IN_MEMORY)
        try:
            for page in self._leased(self._api.iter_deleted(deadline=deadline)):
                codes = [entry.embed_code for entry in page.items]
                meter.page_in_memory(codes, size_bytes=page.size_bytes)
                found += page.items
                if any(0 < entry.deleted_at_s < since_s for entry in page.items):
                    break
        except NoSuchEntry:
            log.debug("this server has no list of deletions; the next full sync finds them")
        return found

    def _update_labels(self, deadline: Deadline) -> None:
        if self.with_labels:
            self._db.write(state.set_labels, self._api.labels(deadline))

    def _mark_synced(self, *, full: bool, where_works: bool | None = None) -> None:
        now_s = self._clock.now()
        self._db.write(state.mark_synced, now_s, full=full, where_works=where_works)

    def _state(self) -> SyncState:
        return self._db.read(state.sync_state)

    def _included(self) -> str:
        return _WITH_SOURCES if self._state().lists_sources else _INCLUDED

    def _tell_sources(self, page: Page[Asset]) -> None:
        for asset in page.items:
            if asset.source is not None:
                self._on_source(asset.embed_code, asset.source)

    def _tell_skipped(self, page: Page[Asset]) -> None:
        """Log the first skipped records, one line each, and count the others."""
        named = page.skipped[: MAX_NAMED - self._named]
        for reason in named:
            events.RECORD_SKIPPED.log(log, reason=reason)
        self._named += len(named)
        self._unnamed += len(page.skipped) - len(named) + page.skipped_more

    def _leased(self, pages: Iterator[P]) -> Iterator[P]:
        """Yield each page after renewing the lease."""
        for page in pages:
            self._lease.take()
            yield page


def _tell(event: events.Event, result: SyncResult, *, at: int | None = None) -> None:
    event.log(
        log,
        at=at,
        new=len(result.added),
        changed=len(result.changed),
        removed=len(result.removed),
    )
