"""The full walk under way: one transaction for each page, and whether its pages are still there."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from backlotfs.api.records import Asset
from backlotfs.catalog.db import sync
from backlotfs.catalog.db.connection import Connections
from backlotfs.catalog.db.rows import EmptyWalkDoubted, WalkCursor, WalkLost, WalkResult
from backlotfs.concurrency.clock import Clock


class FullSync:
    """One thread walks at a time, in one mount (a lease); behind `store.CatalogStore.walk_add` …"""

    def __init__(
        self, connections: Connections, clock: Clock, inode_of: Callable[[str], int]
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._inode_of = inode_of
        # The epoch of the file in which it was begun or gone on with: pages do not outlive that.
        self._epoch: int | None = None

    def cursor(self) -> WalkCursor | None:
        """Where to go on; abandons a walk that is too old for it."""

        def work(connection: sqlite3.Connection) -> WalkCursor | None:
            self._epoch = self._connections.epoch
            return sync.cursor(connection)

        walk = self._connections.read(work)
        if walk is None or sync.is_current(walk, self._clock.now()):
            return walk
        self.abandon()
        return None

    def staged(self) -> tuple[int, int]:
        """Assets of the pages so far, and about how many bytes they came in."""
        return self._connections.read(sync.staged)

    def add(self, assets: Sequence[Asset], next_page: str | None) -> int:
        """One more page: how many of its assets are new. :raises WalkLost: the others are gone."""
        now_s = self._clock.now()

        def work(connection: sqlite3.Connection) -> int:
            self._check()
            return sync.add_page(
                connection, assets, next_page, now_s=now_s, inode_of=self._inode_of
            )

        return self._connections.write(work)

    def abandon(self) -> None:
        """Forget the pages."""
        self._epoch = None
        self._connections.write(sync.abandon)

    def finish(self, *, doubt_empty: bool) -> WalkResult:
        """Make them the library.

        :raises EmptyWalkDoubted: there was no asset on them. :raises WalkLost: they are gone.
        """
        now_s = self._clock.now()

        def work(connection: sqlite3.Connection) -> WalkResult | None:
            self._check()
            return sync.finish(connection, now_s=now_s, doubt_empty=doubt_empty)

        result = self._connections.write(work)
        self._epoch = None
        if result is None:
            raise EmptyWalkDoubted("the API lists no asset where there were some before")
        return result

    def _check(self) -> None:
        """Inside the transaction, which runs again when it met damage: then in another epoch."""
        begun_in, self._epoch = self._epoch, self._connections.epoch
        if begun_in not in (None, self._epoch):
            self._epoch = None
            raise WalkLost("the catalog was begun anew during the walk")
