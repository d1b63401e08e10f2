"""The catalog on disk: the library's assets, labels, given names and sources, one file for each.

**Promises.** Every method is one transaction: it happens whole or not at all, also under SIGKILL,
and readers see one whole version. Several mounts may share the file; `generation` tells each that
another changed something, `rows_changed_since` tells what. The file is never needed: a damaged or
foreign one is set aside and begun anew, and where none can be written memory stands in, each with
one WARNING. A catalog begun anew is empty, and its `SyncState.full_walk_at_s` is 0 until a walk is
finished; where that happens to a store in use, `rows` says so by `CatalogLost` instead of showing
an empty library.

**Never stored**: signed URLs, keys, secrets.

**Threads.** Any thread may call any method. Reads run beside each other and beside the one write
that may run at a time, here or in another mount; a write waits for it, up to 30 s. Not to be
carried across a fork. `schema` has the tables and their invariants.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from backlotfs.api.records import Asset, DeletedAsset, Label
from backlotfs.catalog.db import assets, leases, state, sync
from backlotfs.catalog.db import labels as label_rows
from backlotfs.catalog.db import names as name_rows
from backlotfs.catalog.db.captions import StoredCaptions
from backlotfs.catalog.db.connection import Connections
from backlotfs.catalog.db.full_sync import FullSync
from backlotfs.catalog.db.rows import (
    AssetRow,
    CatalogLost,
    NamelessAsset,
    SizedCounts,
    SourceRecord,
    SyncState,
    WalkCursor,
    WalkResult,
)
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.concurrency.clock import Clock

_RECORDS_AT_A_TIME = 1000


class CatalogStore:
    """One library's catalog. Methods raise `StoreUnavailable` when the file cannot be used now.

    :ivar captions: the caption documents in it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        api_url: str,
        account: str,
        clock: Clock,
        inode_of: Callable[[str], int],
    ) -> None:
        """Open or make the catalog; never fails for what is or is not there.

        :param directory: the cache directory; the catalog is in ``catalog/`` in it.
        :param account: the part of the API key before the dot: a rotated key loses nothing.
        :param inode_of: embed code to inode number, below 2 ** 63.
        """
        self._clock = clock
        self._inode_of = inode_of
        self._connections = Connections(directory, LibraryIdentity.of(api_url, account), clock)
        self._walk = FullSync(self._connections, clock, inode_of)
        self.captions = StoredCaptions(self._connections)

    @property
    def path(self) -> Path | None:
        """The file; None while memory stands in for it."""
        return self._connections.path

    def close(self) -> None:
        """Let running transactions end, then let go of the file. May be called again."""
        self._connections.close()

    # --- what is there

    def rows(self, mode: str) -> list[AssetRow]:
        """Every asset, of one version, in no order; names as given in ``mode``.

        Take `generation` before it: what changes between the two is then reported once more.

        :raises CatalogLost: the file was lost since it was opened: keep what you have.
        """
        return self._connections.read(lambda db: assets.rows(self._whole(db), mode))

    def rows_changed_since(
        self, mode: str, generation: int
    ) -> tuple[list[AssetRow], list[str]] | None:
        """Rows that were added or changed after ``generation``, and the codes of those removed.

        :returns: None when it is too long ago, or of a file set aside since: load `rows`.
        :raises CatalogLost: as `rows`.
        """
        return self._connections.read(
            lambda db: assets.changed_since(self._whole(db), mode, generation)
        )

    def _whole(self, db: sqlite3.Connection) -> sqlite3.Connection:
        if self._connections.epoch and not state.state(db).full_walk_at_s:
            raise CatalogLost("the saved catalog was damaged; the library is to be listed anew")
        return db

    def record(self, embed_code: str) -> Asset | None:
        """The whole API record of one asset; None if it is not in the library."""
        return self._connections.read(lambda db: assets.record(db, embed_code))

    def records(self) -> Iterator[Asset]:
        """Every record, by embed code; assets that come or go meanwhile may or may not be seen."""
        batch = self._records_after("")
        while batch:
            yield from batch
            batch = self._records_after(batch[-1].embed_code)

    def _records_after(self, embed_code: str) -> list[Asset]:
        return self._connections.read(
            lambda db: assets.records_after(db, embed_code, _RECORDS_AT_A_TIME)
        )

    def state(self) -> SyncState:
        """How far the catalog follows the library."""
        return self._connections.read(state.state)

    def generation(self) -> int:
        """Grows with every change of rows or labels, by whichever mount; cheap."""
        return self._connections.read(state.generation)

    # --- the full walk: one at a time, `try_lease` sees to it

    def walk_cursor(self) -> WalkCursor | None:
        """Where an interrupted walk goes on; one that is more than a day old is abandoned here."""
        return self._walk.cursor()

    def walk_staged(self) -> tuple[int, int]:
        """Assets on the pages that are kept so far, and about how many bytes they came in."""
        return self._walk.staged()

    def walk_add(self, assets: Sequence[Asset], next_page: str | None) -> int:
        """Keep a page, and where the next is, until the walk is finished.

        The first page begins a walk; where `walk_cursor` has one, it is gone on with.

        :returns: how many of the assets are new to the walk.
        :raises WalkLost: the earlier pages are gone; nothing was kept of this one.
        """
        return self._walk.add(assets, next_page)

    def walk_abandon(self) -> None:
        """Forget the pages; the library stays as it is."""
        self._walk.abandon()

    def walk_finish(self, *, doubt_empty: bool) -> WalkResult:
        """The pages are all there are: they become the library, the rest of it is removed.

        Without a walk under way (another mount finished it), nothing changes. Records that
        `apply` brought or removed since the walk began stay so.

        :param doubt_empty: do not believe an empty answer after a full one the first time.
        :raises EmptyWalkDoubted: just that; the walk is abandoned, the library stays.
        :raises WalkLost: the pages are gone; the library is empty, and says that it knows nothing.
        """
        return self._walk.finish(doubt_empty=doubt_empty)

    # --- the incremental sync

    def apply(
        self, assets: Sequence[Asset], deleted: Sequence[DeletedAsset], *, synced_at_s: float
    ) -> WalkResult:
        """Records that are new or changed, then deletions.

        A deletion counts only if it is later than the record's ``created_at`` and ``updated_at``:
        a code that was used again stays. A record whose ``updated_at`` moved keeps its size, ETag
        and mtime, no longer verified.

        :param synced_at_s: wall time when the first of the answers was asked for.
        """
        return self._connections.write(
            lambda db: sync.apply(
                db, assets, deleted, synced_at_s=synced_at_s, inode_of=self._inode_of
            )
        )

    def mark_synced(self, *, full: bool, where_works: bool | None = None) -> None:
        """A sync ended well just now; nothing before the first `walk_finish`, which does it too.

        :param where_works: None for no news.
        """
        now_s = self._clock.now()
        self._connections.write(
            lambda db: state.mark_synced(db, now_s, full=full, where_works=where_works)
        )

    def mark_lists_sources(self, lists: bool) -> None:
        """Remember whether the server puts sources into listings that ask for them."""
        self._connections.write(lambda db: state.mark_lists_sources(db, lists))

    # --- names

    def names_missing(self, mode: str) -> list[NamelessAsset]:
        """The assets that have no name in ``mode`` yet."""
        return self._connections.read(lambda db: name_rows.nameless(db, mode))

    def give_names(
        self, mode: str, assign: name_rows.Assign, *, key_of: name_rows.KeyOf = str
    ) -> int:
        """Name the nameless, so that all mounts agree: nobody else names at the same time.

        :param assign: gets the nameless and the keys that are taken (valid during the call), gives
            names by embed code; runs inside the transaction, so it must not call the store. Whom
            it leaves out is offered again.
        :param key_of: name to key; no two names of a mode have the same. The same for every call.
        :returns: how many got a name.
        :raises ValueError: ``assign`` gave an empty name, or one that is taken.
        """
        if not self._connections.read(lambda db: name_rows.nameless(db, mode, 1)):
            return 0  # the usual case takes no lock

        def work(db: sqlite3.Connection) -> int:
            nameless = name_rows.nameless(db, mode)
            names = assign(nameless, name_rows.TakenKeys(db, mode))
            number = state.generation(db) + 1
            given = name_rows.give(db, mode, names, key_of, number)
            if given:
                state.set_generation(db, number)
            return given

        return self._connections.write(work)

    # --- labels

    def labels_set(self, labels: Sequence[Label]) -> None:
        """These are all the labels of the library."""

        def work(db: sqlite3.Connection) -> None:
            if label_rows.set_labels(db, labels):
                state.set_generation(db, state.generation(db) + 1)

        self._connections.write(work)

    def labels(self) -> list[Label]:
        """All labels, in the order they were set."""
        return self._connections.read(label_rows.labels)

    def label_members(self) -> dict[str, list[str]]:
        """Label id to embed codes, as far as assets were listed with their labels."""
        return self._connections.read(label_rows.label_members)

    # --- sources

    def save_sources(self, records: Sequence[SourceRecord]) -> None:
        """Store what probes found out; of assets that are gone, nothing."""

        def work(db: sqlite3.Connection) -> None:
            number = state.generation(db) + 1
            if assets.save_sources(db, records, number):
                state.set_generation(db, number)

        self._connections.write(work)

    def unsized(
        self, limit: int, newest_first: bool = True, *, types: Collection[str] = ()
    ) -> list[str]:
        """Assets to probe: of unknown size, and not known to be without a source.

        :param types: of these asset types only; empty for all.
        """
        kinds = sorted(types)
        return self._connections.read(
            lambda db: assets.unsized(db, limit, kinds, newest_first=newest_first)
        )

    def unverified(self, limit: int) -> list[str]:
        """Assets to probe again: their sources may have been replaced; newest first."""
        return self._connections.read(lambda db: assets.unverified(db, limit))

    def sized_counts(self) -> SizedCounts:
        """How far the crawl has come; cheap."""
        return self._connections.read(state.sized_counts)

    def total_size(self) -> int:
        """Bytes of all sources whose size is known; cheap."""
        return self._connections.read(state.total_size)

    # --- leases

    def try_lease(self, name: str, owner: str, seconds: float) -> bool:
        """Take or prolong ``name`` for ``seconds``; False while another owner has it."""
        now_s = self._clock.now()
        if self._connections.read(lambda db: leases.held_by_other(db, name, owner, now_s)):
            return False
        return self._connections.write(lambda db: leases.take(db, name, owner, seconds, now_s))

    def release_lease(self, name: str, owner: str) -> None:
        """Give it up before its time; nothing if it is not ours."""
        self._connections.write(lambda db: leases.release(db, name, owner))
