# SPDX-License-Identifier: Apache-2.0
"""The catalog publishes the library's listing from the database and keeps it fresh by syncs."""

from __future__ import annotations

import itertools
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from operator import not_
from types import MappingProxyType
from typing import NamedTuple

from backlotfs.api.paging import EndlessListing
from backlotfs.api.records import Asset, Label
from backlotfs.catalog.choice import Chosen
from backlotfs.catalog.db import assets, saved_listing, state
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.names import Naming, give_names
from backlotfs.catalog.db.rows import (
    AssetRow,
    CatalogClosed,
    CatalogLost,
    CatalogUnavailable,
    FullSyncLost,
    SizedCounts,
    SyncState,
)
from backlotfs.catalog.db.table import AssetTable
from backlotfs.catalog.folder_times import FolderTimes
from backlotfs.catalog.library import CatalogDelta, Library, Presented, classify
from backlotfs.catalog.sync import Synced, Synchronizer
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.concurrency.workers import Workers
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import BacklotError, Interrupted
from backlotfs.log import events

log = logging.getLogger(__name__)

#: Shortest time between two syncs after a listing that did not end, because it costs many calls.
AFTER_ENDLESS_S = 3600.0
#: An unused mount is synced this often, or as often as a longer TTL says.
IDLE_SYNC_S = 3600.0
#: How often the database is checked for a sync by another mount of the same library.
LOOK_AROUND_S = 5.0
#: Smaller listings are not saved: their rows are read in 0.1 s.
SAVED_FROM = 20_000
#: How often a mount that waits for another mount's first listing checks whether it is complete.
LOOK_AGAIN_S = 0.5


#: Called with the delta of each new version of the listing, on the thread that published it.
Listener = Callable[[CatalogDelta], None]


class _Stored(NamedTuple):
    """The rows and labels that one transaction read from the database.

    :ivar rows: all rows, or only the rows that changed since the previous version.
    :ivar removed: embed codes removed since the previous version; None: ``rows`` has all rows.
    :ivar chosen: what the rules of the mount show; None without rules.
    """

    rows: AssetTable
    removed: list[str] | None
    labels: list[Label]
    members: dict[str, list[str]]
    chosen: Chosen | None

    def shown(self) -> _Stored:
        """A copy without the rows that the rules hide; these count as removed."""
        if self.chosen is None:
            return self
        shows = self.chosen.shows
        kept = [shows(row) for row in self.rows]
        if all(kept):
            return self
        removed = self.removed
        if removed is not None:
            hidden = itertools.compress(self.rows, map(not_, kept))
            removed = removed + [row.embed_code for row in hidden]
        return self._replace(rows=self.rows.copy(kept), removed=removed)


class Catalog:
    """Publishes the listing and keeps it fresh. Any thread may call it.

    :ivar presented: the version of the listing that programs see now.
    :ivar folder_times: when the entries of each folder last changed.
    :ivar sync_deadline_s: time limit of one sync; an interrupted full sync continues the next time.
    """

    def __init__(
        self,
        db: CatalogDb,
        synchronizer: Synchronizer,
        workers: Workers,
        clock: Clock,
        *,
        naming: Naming,
        ttl_s: float,
        presented: Presented | None = None,
    ) -> None:
        """Publish nothing yet: see `open_saved` and `load`.

        :param naming: gives names to assets without one; the names of its mode are presented.
        :param ttl_s: a listing older than this is refreshed when a program uses the mount.
        :param presented: receives each new version of the listing; None: a new `Presented`.
        """
        self.presented = presented or Presented()
        self.folder_times = FolderTimes(db, clock)
        self._db = db
        self._synchronizer = synchronizer
        self._workers = workers
        self._clock = clock
        self._naming = naming
        self._ttl_s = ttl_s
        self.sync_deadline_s = TimeLimits().sync_s
        self._listeners: list[Listener] = []
        self._before_publish: list[Listener] = []
        self._lock = threading.Lock()
        self._refreshing = False
        self._to_compare = False  # whether the first sync after `open_saved` is still due
        self._idle = threading.Event()  # set while no refresh is under way
        self._idle.set()
        self._again: bool | None = None
        self._publishing = threading.Lock()
        self._generation = -1
        self._chosen: Chosen | None = None
        self._told: tuple[tuple[str, ...], bool] = (), False  # what the log says of the rules
        self._looked_at = clock.monotonic()
        self._due_after_s = ttl_s
        self._last_error: BacklotError | None = None

    @property
    def library(self) -> Library:
        """The last good listing; see `Presented.library`."""
        return self.presented.library

    @property
    def last_error(self) -> BacklotError | None:
        """The error of the last sync, if it failed: the listing may be stale; else None."""
        return self._last_error

    @property
    def refreshing(self) -> bool:
        """Whether a sync runs in the background, or the first after `open_saved` is still due."""
        return self._refreshing or self._to_compare

    def subscribe(self, listener: Listener, *, beforehand: bool = False) -> None:
        """Call ``listener`` with each new version from now on.

        :param beforehand: call it before programs can see the version; it must not wait.
        """
        (self._before_publish if beforehand else self._listeners).append(listener)

    def row(self, embed_code: str) -> AssetRow | None:
        """The row of a presented asset; None: it is not presented."""
        return self.presented.row(embed_code)

    def record(self, embed_code: str) -> Asset | None:
        """The complete API record of an asset, from the database."""
        return self._db.read(assets.record, embed_code)

    def assets(self) -> int:
        """The number of presented assets; does not wait, as `df` and health checks must not."""
        if self.presented.expected:
            return self.counted().total
        return len(self.library.rows)

    def total_size(self) -> int:
        """The total size of all sources whose size is known, in bytes."""
        return self._db.read(state.total_size)

    def open_saved(self) -> bool:
        """Announce the listing that earlier mounts saved; False if there is no usable one.

        From now on, callers that need the library wait until `show_saved` has read it. A sync is
        due (`refreshing`), unless the listing was imported and is younger than the TTL.
        """
        try:
            if not self._state().full_sync_at_s or self._rules_lack_labels():
                return False
        except CatalogUnavailable as error:
            events.CATALOG_UNUSABLE.log(log, reason=error)
            return False
        self._to_compare = not self._adopt_import()
        self.presented.expect()
        return True

    def _adopt_import(self) -> bool:
        """Whether the listing was imported and no sync is due yet; note its age if so."""
        known = self._state()
        age_s = self._clock.now() - known.synced_at_s
        if not known.is_imported or not 0 <= age_s < self._ttl_s or self.lacks_labels:
            return False
        self._looked_at = self._clock.monotonic() - age_s
        return True

    def show_saved(self) -> bool:
        """Publish the saved listing; False if it cannot be read, so that `load` is needed."""
        try:
            self.publish()
        except CatalogClosed:  # the mount ends
            return True
        except CatalogUnavailable as error:
            events.CATALOG_UNUSABLE.log(log, reason=error)
            return False
        return True

    def save_listing(self) -> None:
        """Save a large listing as it is presented, so that the next mount reads it fast."""
        with self._publishing:
            rows, generation = self.presented.current.rows, self._generation
        admit = self.presented.admit
        if self._db.path is None or admit.choice is not None or len(rows) < SAVED_FROM:
            return
        view = saved_listing.view(self._naming.mode, admit.types, admit.statuses)
        try:
            self._db.write(saved_listing.save, view, generation, rows)
        except CatalogUnavailable as error:  # the next mount reads the rows
            log.debug("the listing was not saved: %s", error)

    def counted(self) -> SizedCounts:
        """The assets of the presented types and statuses as the database has them; reads no row.

        With rules (`AssetFilter.choice`) these are more than the presented ones.
        """
        return self._db.read(
            assets.counts, self.presented.admit.types, self.presented.admit.statuses
        )

    @property
    def lacks_labels(self) -> bool:
        """Whether a layout or a rule needs labels, and no mount that needs them has saved them."""
        return self._synchronizer.with_labels and self._saved_no_labels()

    def _rules_lack_labels(self) -> bool:
        choice = self.presented.admit.choice
        return choice is not None and choice.needs_labels and self._saved_no_labels()

    def _saved_no_labels(self) -> bool:
        return not self._db.read(state.labels) and self._db.read(state.has_label_members)

    @property
    def unknown_labels(self) -> tuple[str, ...]:
        """The rules whose label is not in the library."""
        return () if self._chosen is None else self._chosen.unknown

    @property
    def lists_sources(self) -> bool | None:
        """Whether the server includes sources in listings on request; None: not known.

        If so, each sync requests them until the server refuses it.
        """
        lists = self._state().lists_sources
        return None if lists is None else bool(lists)

    @lists_sources.setter
    def lists_sources(self, lists: bool) -> None:
        self._db.write(state.mark_lists_sources, lists)

    def load(self, deadline: Deadline) -> None:
        """Sync on this thread and publish; wait while another mount syncs the library.

        :raises BacklotError: the library cannot be listed.
        """
        while self._sync(deadline, full=False) is Synced.ELSEWHERE and self._generation < 0:
            deadline.check("the wait for another mount that lists the library")
            self._clock.sleep(LOOK_AGAIN_S)

    def used(self, wait_s: float = 0.0) -> None:
        """Start a background refresh if the TTL has passed; call it when a program uses the mount.

        :param wait_s: longest wait for that refresh to finish.
        """
        if self._clock.monotonic() - self._looked_at < self._due_after_s:
            return
        self._start_refresh()
        if wait_s:
            self._idle.wait(wait_s)

    def refresh(self, *, full: bool = False, insists: bool = True) -> None:
        """Start a sync in the background; if one is running, start another when it has ended.

        :param insists: if another mount runs a sync now, wait for it and sync again, because that
            sync may have begun before a change that the caller knows of.
        """
        self._start_refresh(full=full, insists=insists)

    def _start_refresh(
        self, *, full: bool = False, repairs: bool = False, insists: bool = False
    ) -> None:
        with self._lock:
            if self._refreshing:
                self._again = bool(self._again) or full
                return
            self._refreshing = True
            self._idle.clear()
        self._looked_at = self._clock.monotonic()
        self._workers.submit(lambda: self._refresh(full=full, repairs=repairs, insists=insists))

    def keep_fresh(self, each_minute: Callable[[], None] = lambda: None) -> None:
        """Start the thread that syncs an unused mount and publishes the syncs of other mounts.

        :param each_minute: called once a minute on this thread.
        """
        threading.Thread(
            target=self._keep, args=(each_minute,), name="catalog-keeper", daemon=True
        ).start()

    def _keep(self, each_minute: Callable[[], None]) -> None:
        seen: tuple[object, ...] = ()
        for turn in itertools.count(1):
            self._clock.sleep(LOOK_AROUND_S)
            try:
                self._db.keep_file()
                if turn * LOOK_AROUND_S % 60 == 0:
                    each_minute()
                now = self._state()[1:]
                if now != seen:
                    seen = now
                    self._adopt_import()
                    self.publish()
                if self._clock.monotonic() - self._looked_at >= max(IDLE_SYNC_S, self._ttl_s):
                    self._start_refresh()
            except CatalogClosed:
                return
            except CatalogLost as error:
                events.CATALOG_TROUBLE.log(log, reason=error)
                self.refresh()
            except BacklotError as error:
                events.CATALOG_TROUBLE.log(log, reason=error)
            except Exception as error:  # noqa: BLE001  # the thread goes on
                events.JOB_FAILED.log(log, pool="catalog-keeper", failure=error)

    def publish(self) -> None:
        """Publish a new version of the listing from the database and call the listeners.

        Do nothing before a first full sync is finished, by this mount or another one.

        :raises CatalogLost: the file was lost while in use; the previous version stays.
        """
        with self._publishing:
            now = self._state()
            if now.generation == self._generation:
                return
            if not now.full_sync_at_s and self._generation < 0:
                return
            give_names(self._db, self._naming)
            generation = self._db.read(state.generation)  # before the rows: no change is missed
            before = self.presented.current
            stored = self._db.read(self._load).shown()
            rows, change = self._rows(before.rows, stored)
            for listener in self._before_publish:
                listener(change)
            self._generation, self._chosen = generation, stored.chosen
            self.presented.show(
                Library(
                    before.version + 1,
                    rows,
                    stored.labels,
                    MappingProxyType(stored.members),
                )
            )
        for listener in self._listeners:
            listener(change)
        if stored.chosen is not None:
            self._tell_chosen(stored.chosen, is_empty=not rows)

    def _tell_chosen(self, chosen: Chosen, *, is_empty: bool) -> None:
        """Log rules with an unknown label, and that no asset is shown; once until this changes."""
        nothing = is_empty and self.counted().total > 0
        (unknown_before, nothing_before), self._told = self._told, (chosen.unknown, nothing)
        for rule in chosen.unknown:
            if rule not in unknown_before:
                events.LABEL_UNKNOWN.log(log, rule=rule)
        if nothing and not nothing_before:
            events.NOTHING_SHOWN.log(log)

    def _load(self, connection: sqlite3.Connection) -> _Stored:
        """Read everything for a new version in one transaction."""
        if not state.sync_state(connection).full_sync_at_s:
            raise CatalogLost("the saved catalog was damaged; the library has to be listed again")
        labels: list[Label] = []
        members: dict[str, list[str]] = {}
        if self._synchronizer.with_labels:
            labels, members = state.labels(connection), state.label_members(connection)
        choice, chosen, delta = self.presented.admit.choice, None, None
        if choice is not None:
            chosen = choice.among(labels, members)
        # with other labels, rules may match assets that did not change
        is_same = (
            chosen is None or self._chosen is None or chosen.label_ids == self._chosen.label_ids
        )
        if self._generation >= 0 and is_same:
            delta = assets.changed_since(connection, self._naming.mode, self._generation)
        admit, mode = self.presented.admit, self._naming.mode
        return _Stored(
            assets.rows(connection, mode, admit.types, admit.statuses)
            if delta is None
            else delta[0],
            None if delta is None else delta[1],
            labels,
            members,
            chosen,
        )

    def _rows(self, before: AssetTable, stored: _Stored) -> tuple[AssetTable, CatalogDelta]:
        """The rows of the new version, and their difference from ``before``."""
        change = CatalogDelta([], [], [], [], [], [])
        shown: Iterable[AssetRow]
        if stored.removed is None:
            rows, shown = stored.rows, stored.rows
            gone = [row for row in before if row.embed_code not in rows]
        else:
            admits = self.presented.admit.admits
            changed = {row.embed_code: row for row in stored.rows}
            shown = [row for row in changed.values() if admits(row.asset_type, row.status)]
            codes = {*stored.removed, *changed} - {row.embed_code for row in shown}
            gone = [row for row in map(before.get, codes) if row is not None]
            rows = before.updated(shown, [row.embed_code for row in gone])
        if before:
            for row in shown:
                classify(before.get(row.embed_code), row, change)
        for row in gone:
            change.removed.append(row)
            change.stale_names.append(row.name)
        return rows, change

    def _state(self) -> SyncState:
        return self._db.read(state.sync_state)

    def _refresh(self, *, full: bool, repairs: bool, insists: bool) -> None:
        """Sync; if the catalog is lost meanwhile, list the library again, once.

        :param repairs: whether this sync is made because the catalog was lost.
        :param insists: see `refresh`.
        """
        lost = False
        try:
            deadline = Deadline(self.sync_deadline_s, self._clock)
            while self._sync(deadline, full=full) is Synced.ELSEWHERE and insists:
                deadline.check("the wait for another mount that lists the library")
                self._clock.sleep(LOOK_AGAIN_S)
        except (CatalogClosed, Interrupted):
            log.debug("refresh interrupted by the end of the mount")
        except (CatalogLost, FullSyncLost) as error:
            events.REFRESH_FAILED.log(log, reason=error)
            lost = True
        except BacklotError as error:
            events.REFRESH_FAILED.log(log, reason=error)
        finally:
            with self._lock:
                self._refreshing = False
                self._idle.set()
                again, self._again = self._again, None
            if again is not None or (lost and not repairs):
                self._start_refresh(full=bool(again), repairs=lost, insists=again is not None)

    def _sync(self, deadline: Deadline, *, full: bool) -> Synced:
        try:
            done = self._synchronizer.run(deadline, full=full)
        except (CatalogClosed, Interrupted):  # the mount ends: this is no error of the listing
            raise
        except BacklotError as error:
            self._last_error = error
            if isinstance(error, EndlessListing):
                self._due_after_s = max(self._ttl_s, AFTER_ENDLESS_S)
            raise
        finally:
            self._looked_at = self._clock.monotonic()
            self._to_compare = False
        self._last_error = None
        self._due_after_s = max(self._ttl_s, self._synchronizer.full_sync_interval_s())
        if done is Synced.ELSEWHERE:
            log.debug("not refreshed here: %s", done)
        # a mount that needs no labels may be the one that lists the library
        if done is not Synced.ELSEWHERE or not self._rules_lack_labels():
            self.publish()
        return done
